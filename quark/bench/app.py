"""The demo application: a long initialisation, then quick answers.

It learns a codebook (k-means over random points, in numpy) and says which code is nearest to a query. Queries are integers, given as
arguments or as lines of standard input; `quark_guest.ready()` marks the point from which clones go on.
"""

from __future__ import annotations

import sys

import numpy as np

import quark_guest

POINTS, DIMENSIONS, CODES, ROUNDS = 20_000, 32, 64, 45


def assign(points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Index of the nearest code for each point: |p - c|^2 without |p|^2, which is the same for all codes."""
    nearest: np.ndarray = np.argmin((codes**2).sum(axis=1) - 2 * points @ codes.T, axis=1)
    return nearest


def learn() -> tuple[np.ndarray, np.ndarray]:
    """Codebook (CODES x DIMENSIONS) and the number of points of each code."""
    points = np.random.default_rng(7).standard_normal((POINTS, DIMENSIONS), dtype=np.float32)
    codes = points[:CODES].copy()
    for _ in range(ROUNDS):
        nearest = assign(points, codes)
        for code in range(CODES):
            members = points[nearest == code]
            if len(members):
                codes[code] = members.mean(axis=0)
    return codes, np.bincount(nearest, minlength=CODES)


def main() -> None:
    """Initialise, offer the capture point, answer."""
    codes, sizes = learn()

    def answer(query: str) -> None:
        point = np.random.default_rng(int(query)).standard_normal((1, DIMENSIONS), dtype=np.float32)
        code = int(assign(point, codes)[0])
        print(f"query {query}: code {code} of {sizes[code]} points", flush=True)

    answer("1")  # the first call of everything is part of warming up
    document = quark_guest.ready()
    for query in document["args"]:
        answer(query)
    for line in sys.stdin:
        answer(line.strip())
    quark_guest.finish()


if __name__ == "__main__":
    main()
