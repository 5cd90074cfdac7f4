"""Text and data modules: json, re, struct, datetime, decimal, fractions, csv, textwrap, pickle, xml, collections."""

import base64
import collections
import csv
import datetime as dt
import decimal
import fractions
import heapq
import io
import itertools
import json
import pickle
import re
import statistics
import string
import struct
import textwrap
import unicodedata
import xml.etree.ElementTree as ET

document = {"numbers": list(range(50)), "text": "ünïcödé ☃ 𝄞", "nested": {"a": [None, True, 1.5e300, -0.0]}}
text = json.dumps(document, sort_keys=True, indent=1)
assert json.loads(text) == document
print("json", len(text), hash(tuple(sorted(document))) is not None)

words = re.findall(r"\b(\w)(\w*)\b", "the quick brown fox jumps over the lazy dog " * 200)
print("re", len(words), collections.Counter(first for first, _ in words).most_common(3))
print("re.sub", re.sub(r"(?P<a>\d+)-(\d+)", r"\2:\g<a>", "10-20 30-40"))

packed = struct.pack("<bHiQd10s", -5, 65535, -(2**31), 2**64 - 1, 3.14159, b"bytes")
print("struct", packed.hex(), struct.unpack("<bHiQd10s", packed)[3])

start = dt.datetime(2024, 2, 28, 23, 59, 59, tzinfo=dt.UTC)
print(
    "datetime",
    (start + dt.timedelta(days=1, seconds=2)).isoformat(),
    start.strftime("%A %j %U"),
    start.timestamp(),
)

decimal.getcontext().prec = 60
print("decimal", decimal.Decimal(2).sqrt(), decimal.Decimal(1) / 7)
print("fractions", sum(fractions.Fraction(1, n) for n in range(1, 30)))
print("integers", 3**200 % 10**30, pow(7, 10**20, 10**9 + 7), (2**521 - 1).bit_length())
print("statistics", statistics.mean(range(100)), statistics.stdev([1, 2, 3, 4.5]))

buffer = io.StringIO()
csv.writer(buffer).writerows([["a,b", 'quo"te', "line\nbreak"], [1, 2.5, None]])
print("csv", repr(buffer.getvalue()), list(csv.reader(io.StringIO(buffer.getvalue()))))
print("pickle", pickle.loads(pickle.dumps([document, start, {1, 2}], protocol=5))[1] == start)
print("base64", base64.b85encode(bytes(range(20))).decode(), base64.b64decode("aGVsbG8="))
root = ET.fromstring("<a x='1'><b>text</b><b/>tail</a>")
print("xml", [child.tag for child in root], ET.tostring(root).decode())
print("unicode", unicodedata.normalize("NFD", "é").encode(), "ß".upper(), "İ".lower().encode("unicode_escape"))
print("textwrap", textwrap.fill(string.ascii_letters * 3, 40).splitlines()[1])
print("heapq", heapq.nsmallest(5, ((n * 7919) % 1009 for n in range(1000))))
print("itertools", sum(1 for _ in itertools.permutations(range(7))), list(itertools.accumulate(range(8))))
print("format", f"{1234567.891:,.2f} {255:#x} {'x':>5}|{3.0!r} {1e22}")
primes = [n for n in range(2, 3000) if all(n % d for d in range(2, int(n**0.5) + 1))]
print("primes", len(primes), sum(primes))
