"""The host/guest ABI: sizes and offsets that QVisor, QKernel and stored snapshots rely on. A change of one is a new QK_ABI_VERSION."""

import subprocess
from pathlib import Path

HEADER = Path(__file__).parents[2] / "qkernel" / "include" / "quark_abi.h"
SIZES = {
    "qk_seg": 16,
    "qk_event": 8,
    "qk_clock": 40,
    "qk_call": 104,
    "qk_vcpu": 24,
    "qk_boot": 192,
    "qk_comm": 2624,
    "qk_stat": 80,
}
OFFSETS = {
    "generation": 8,
    "entropy": 24,
    "doc_len": 88,
    "clone": 92,
    "clock": 96,
    "boot": 136,
    "vcpu": 328,
    "event_head": 352,
    "event_tail": 356,
    "poller_awake": 360,
    "exited": 364,
    "trace_pos": 368,
    "free_bitmap_gpa": 424,
    "call": 448,
    "enosys_count": 552,
    "missed_signals": 2600,
    "tick_ns": 2616,
}


def test_layout(tmp_path):
    lines = [f'printf("{name} %zu\\n", sizeof(struct {name}));' for name in SIZES]
    lines += [f'printf("{name} %zu\\n", offsetof(struct qk_comm, {name}));' for name in OFFSETS]
    source = tmp_path / "layout.c"
    source.write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{ {"".join(lines)} return 0; }}'
    )
    subprocess.run(["gcc", "-Wall", "-Werror", "-o", tmp_path / "layout", source], check=True)
    out = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    found = {name: int(value) for name, value in (line.split() for line in out.splitlines())}
    assert found == {**SIZES, **OFFSETS}


def test_no_padding_between_the_parts():
    assert OFFSETS["boot"] == OFFSETS["clock"] + SIZES["qk_clock"]
    assert OFFSETS["vcpu"] == OFFSETS["boot"] + SIZES["qk_boot"]
    assert OFFSETS["enosys_count"] + 512 * 4 == OFFSETS["missed_signals"]
