"""What the fuzzers in Python share: mutations of bytes and of texts, which lines of a module inputs reach, reports of what was found."""

import argparse
import contextlib
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path

EDGES = [
    0,
    1,
    2,
    7,
    8,
    255,
    256,
    4095,
    4096,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
]
TEXTS = ["", "0", "-1", "1" * 5000, str(1 << 63), str(1 << 64), "..", "/", "/etc/passwd", "a/../b", "\udcff", "\ud800", "é" * 300, "x" * 70000, "\n", "%s", "NaN", "[]", "{}"]  # fmt: skip
JSON_VALUES = [
    None,
    True,
    -1,
    0,
    1.5,
    1 << 64,
    -(1 << 70),
    float("nan"),
    "",
    "x",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
]


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few small changes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 2:
            size = rng.choice((2, 4, 8))
            value = (rng.choice(EDGES) + rng.randrange(-1, 2)) % (1 << 8 * size)
            at = at // size * size
            out[at : at + size] = value.to_bytes(size, "little")
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 4:
            del out[at : at + rng.randrange(1, 65)]
        elif kind == 5:
            source = rng.randrange(len(out) + 1)
            out[at:at] = out[source : source + rng.randrange(1, 65)]
        else:
            out = out[:at]
    return bytes(out)


def mutate_json(rng: random.Random, value: object) -> object:
    """One place of a JSON value becomes another."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        kind = rng.randrange(10)
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        if kind == 1:
            return {**value, rng.choice(TEXTS): value[key]}
        return {**value, key: mutate_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        kind = rng.randrange(6)
        if kind == 0:
            return value[:at] + value[at + 1 :]
        if kind == 1:
            return value[:at] + [value[at]] * rng.choice((2, 100)) + value[at:]
        return [*value[:at], mutate_json(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, int) and rng.random() < 0.6:
        return rng.choice(EDGES) * rng.choice((1, -1))
    if isinstance(value, str) and rng.random() < 0.6:
        return rng.choice([*TEXTS, value + "x", value[:-1], value * 2])
    return rng.choice(JSON_VALUES)


class Lines:
    """Which lines of `folder` have been reached, by sys.settrace."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.seen: set[tuple[object, int]] = set()

    def _trace(self, frame, event, _arg):
        if event == "call" and not frame.f_code.co_filename.startswith(self._folder):
            return None
        if event == "line":
            self.seen.add((frame.f_code, frame.f_lineno))
        return self._trace

    def run(self, call):
        """Whether it reached lines that nothing has reached before; exceptions pass."""
        before = len(self.seen)
        sys.settrace(self._trace)
        try:
            call()
        finally:
            sys.settrace(None)
        return len(self.seen) > before


class Run:
    """The time and the places that fuzz.py gave, and the report for it."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--seconds", type=float, default=60)
        parser.add_argument("--found", type=Path)
        parser.add_argument("--seed", type=int, default=None)
        self.args = parser.parse_args()
        self.seed = random.SystemRandom().randrange(1 << 32) if self.args.seed is None else self.args.seed
        self.rng = random.Random(self.seed)
        self.started = time.monotonic()
        self.count = 0
        print(f"seed {self.seed}", flush=True)

    def goes_on(self) -> bool:
        """Whether there is time left; reports now and then."""
        seconds = time.monotonic() - self.started
        file = os.environ.get("FUZZ_REPORT")
        if file and (self.count % 64 == 0 or seconds >= self.args.seconds):
            new = Path(file + ".new")
            new.write_text(json.dumps({"requests": self.count, "seconds": round(seconds, 1)}))
            new.rename(file)
        self.count += 1
        return seconds < self.args.seconds

    @contextlib.contextmanager
    def allowing(self, name: str, data: bytes, *errors: type[BaseException]):
        """These errors are what a damaged input is for; every other keeps the input and ends the run."""
        try:
            yield
        except errors:
            pass
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            traceback.print_exc()
            self.found(name, data)

    def found(self, name: str, data: bytes) -> None:
        """Keep the input and end."""
        if self.args.found:
            self.args.found.mkdir(parents=True, exist_ok=True)
            (self.args.found / f"{name}-{self.seed}-{self.count}").write_bytes(data)
        print(f"SUMMARY: fuzz: {name}, seed {self.seed}, input {self.count}", flush=True)
        sys.exit(1)
