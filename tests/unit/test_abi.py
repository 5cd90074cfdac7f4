"""The host/guest ABI: sizes and offsets that QVisor, QKernel and stored snapshots rely on. A change of one is a new QK_ABI_VERSION."""

import subprocess
from pathlib import Path

import pytest

HEADER = Path(__file__).parents[2] / "qkernel" / "include" / "quark_abi.h"
SIZES = {
    "qk_seg": 16,
    "qk_event": 8,
    "qk_clock": 40,
    "qk_call": 104,
    "qk_stats": 32,
    "qk_vcpu": 208,
    "qk_closes": 3840,
    "qk_boot": 192,
    "qk_comm": 2416,
    "qk_stat": 80,
}
OFFSETS = {
    "qk_comm": {
        "generation": 8,
        "entropy": 24,
        "doc_len": 88,
        "clone": 92,
        "boot": 96,
        "nvcpus": 288,
        "missed": 292,
        "event_head": 296,
        "event_tail": 300,
        "trace_pos": 304,
        "free_bitmap_gpa": 328,
        "enosys_count": 352,
        "missed_signals": 2400,
        "ahead": 2408,
    },
    "qk_vcpu": {
        "call": 0,
        "clock": 104,
        "wait_ns": 144,
        "timer_ns": 152,
        "tick_ns": 160,
        "irq_ready": 168,
        "poller_awake": 172,
        "stats": 176,
    },
}
# Where the parts of the comm area begin and how long they are; those of a vCPU's block beside them.
AREA = [
    ("QK_OFF_HEAD", "sizeof(struct qk_comm)"),
    ("QK_OFF_EVENTS", "QK_EVENT_MAX * sizeof(struct qk_event)"),
    ("QK_OFF_TRACE", "QK_TRACE_SIZE"),
    ("QK_OFF_DOC", "QK_DOC_SIZE"),
    ("QK_OFF_BOOT", "QK_BOOT_SIZE"),
    ("QK_OFF_VCPU(0)", "QK_VCPU_SIZE"),
    ("QK_OFF_VCPU(1)", "QK_VCPU_SIZE"),
]
BLOCK = [
    ("0", "sizeof(struct qk_vcpu)"),
    ("QK_VCPU_CLOSE", "sizeof(struct qk_closes)"),
    ("QK_VCPU_SEGS", "QK_SEG_MAX * sizeof(struct qk_seg)"),
    ("QK_VCPU_DATA", "QK_DATA_SIZE"),
]


def _numbers(folder: Path, expressions: list[str]) -> list[int]:
    """What C makes of them."""
    lines = "".join(f'printf("%zu\\n", (size_t)({e}));' for e in expressions)
    source = folder / "layout.c"
    source.write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{ {lines} return 0; }}'
    )
    subprocess.run(["gcc", "-Wall", "-Werror", "-o", folder / "layout", source], check=True)
    return [
        int(n) for n in subprocess.run([folder / "layout"], check=True, capture_output=True, text=True).stdout.split()
    ]


def test_layout(tmp_path):
    assert _numbers(tmp_path, [f"sizeof(struct {name})" for name in SIZES]) == list(SIZES.values())
    for name, fields in OFFSETS.items():
        assert _numbers(tmp_path, [f"offsetof(struct {name}, {field})" for field in fields]) == list(fields.values()), (
            name
        )


@pytest.mark.parametrize(("parts", "whole"), [(AREA, "QK_COMM_SIZE(2)"), (BLOCK, "QK_VCPU_SIZE")])
def test_parts_do_not_overlap(tmp_path, parts, whole):
    numbers = _numbers(tmp_path, [e for part in parts for e in part] + [whole])
    ends = [at + size for at, size in zip(numbers[:-1:2], numbers[1:-1:2], strict=True)]
    for end, following in zip(ends, [*numbers[2:-1:2], numbers[-1]], strict=True):
        assert end <= following, numbers


def test_blocks_are_whole_pages(tmp_path):
    assert [
        n % 4096 for n in _numbers(tmp_path, ["QK_VCPU_SIZE", "QK_OFF_VCPU(0)", "QK_VCPU_SEGS", "QK_VCPU_DATA"])
    ] == [0] * 4
