# The cffi extension: lib has the functions that native/cdef.h declares, ffi makes and reads C values. cffi has no static types.

from typing import Any

ffi: Any
lib: Any
