"""The kernel's string functions and snprintf agree with the C library's."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

BYTE = st.integers(0, 255)
NUMBERS = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
)
TEXTS = st.one_of(st.binary(max_size=80), st.text("ab", max_size=80).map(str.encode))
RECORDS = st.tuples(NUMBERS, st.tuples(*[BYTE] * 8), TEXTS, TEXTS)


@settings(max_examples=100, deadline=None)
@given(records=st.lists(RECORDS, max_size=40))
def test_text(host_program, records):
    data = b"".join(struct.pack("<Q8BII", number, *knobs, len(a), len(b)) + a + b for number, knobs, a, b in records)
    assert host_program("text")(data) == b"%d\n" % len(records)
