"""Cases of features that the guest kernel does not have yet; each moves to cases.py with its feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cases import Case

LATER: tuple[Case, ...] = ()
