"""Quark: a secure sandbox runtime that restores programs from snapshots of their warmed-up state."""

__version__ = "0.1.0"
