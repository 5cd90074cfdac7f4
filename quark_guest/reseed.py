"""Gives this process random numbers of its own, in a clone: every generator that Python programs share and that kept its state through the capture."""

from __future__ import annotations

import os
import sys

SEED_BYTES = 32


def reseed() -> None:
    """Seed anew what is loaded of: `random` and numpy's global generators, OpenSSL behind `ssl`, `tempfile`'s names.

    As after a fork, in which Python reseeds `random` by itself, a seed that the program had set is gone. Generators that the program made
    (random.Random, numpy.random.default_rng) stay as they are. Nothing that is not loaded is imported.
    """
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed()
    if "numpy.random" in modules:
        modules["numpy.random"].seed(None)
    if "ssl" in modules:
        modules["ssl"].RAND_add(os.urandom(SEED_BYTES), float(SEED_BYTES))
    if "tempfile" in modules:
        # It makes a new sequence, with a generator of its own, when there is none.
        vars(modules["tempfile"])["_name_sequence"] = None
