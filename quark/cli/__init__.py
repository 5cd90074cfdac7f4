"""The `quark` command: one file a subcommand, imported only when it is the one asked for."""
