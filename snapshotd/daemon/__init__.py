"""The daemon: one process that serves the snapshot API of a state directory and owns its sandboxes."""
