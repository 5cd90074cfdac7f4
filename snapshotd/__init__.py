"""snapshotd: the snapshot store, capture, restore and the pager."""
