"""A second application on the same Python: an index of words over generated documents, with the standard library alone."""

from __future__ import annotations

import collections
import json
import re
import sqlite3
from typing import TYPE_CHECKING

import quark_guest

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTS = 4000
FIRST = ("red", "blue", "old", "new", "wide", "fast")
SECOND = ("house", "river", "street", "train", "letter", "garden")


def documents() -> Iterator[tuple[int, str]]:
    """(number, text)."""
    words = [a + b for a in FIRST for b in SECOND]
    for i in range(DOCUMENTS):
        yield i, " ".join(words[(i * k + k * k) % len(words)] for k in range(1, 30))


def main() -> None:
    """Initialise, offer the capture point, answer."""
    index = collections.defaultdict(list)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE document (number INTEGER PRIMARY KEY, text TEXT)")
    for number, text in documents():
        database.execute("INSERT INTO document VALUES (?, ?)", (number, text))
        for word in set(re.findall(r"\w+", text)):
            index[word].append(number)
    request = quark_guest.ready()
    print(json.dumps({word: len(index[word]) for word in request["args"]}), flush=True)


if __name__ == "__main__":
    main()
