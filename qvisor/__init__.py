"""QVisor: the virtual machine monitor. One process a sandbox."""
