"""Runs in a sandbox: holds a table in memory, touches it, and says how long it ever stood still.

Usage: ticker.py MEGABYTES. A line of standard input asks for the longest gap since the last one: `gap MILLISECONDS`.
"""

from __future__ import annotations

import select
import sys
import time

PAGE = 4096


def main() -> None:
    """Tick until standard input ends."""
    # Half of it compresses well, as memory of real programs does.
    table = bytearray().join(bytes(i % 251 for i in range(n, n + PAGE)) for n in range(int(sys.argv[1]) << 8))
    print("ready", flush=True)
    longest, last, at = 0.0, time.monotonic(), 0
    while True:
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        at = (at + PAGE) % len(table)
        table[at] ^= 1
        if select.select([sys.stdin], [], [], 0)[0]:
            if not sys.stdin.readline():
                return
            print(f"gap {longest * 1e3:.3f}", flush=True)
            longest, last = 0.0, time.monotonic()


if __name__ == "__main__":
    main()
