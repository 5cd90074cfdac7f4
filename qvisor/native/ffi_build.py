"""Writes the C source of qvisor._native: the cffi API-mode wrapper of the functions and structs declared in cdef.h.

Usage: ffi_build.py CDEF_H OUTPUT_C

cdef.h holds plain C declarations, as cffi reads them (no #include, no macros but `#define NAME ...`); the compiler checks every
one of them against qvisor_api.h and message.h, so the two cannot drift apart.
"""

import sys
from pathlib import Path

import cffi


def main(cdef: Path, output: Path) -> None:
    """Read the declarations in `cdef` and write the wrapper to `output`."""
    builder = cffi.FFI()
    builder.cdef(cdef.read_text())
    builder.set_source("qvisor._native", '#include "qvisor_api.h"\n#include "message.h"')
    output.parent.mkdir(parents=True, exist_ok=True)
    builder.emit_c_code(str(output))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
