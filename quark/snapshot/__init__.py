"""The protobuf package quark.snapshot: generated code."""
