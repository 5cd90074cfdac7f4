"""Guest tests: ordinary programs run natively and in the sandbox, where Linux is the oracle. Needs only the standard library."""
