"""What Linux promises of an address space, page by page: the model that test_areas.py compares the kernel's with."""

import copy
import errno
from dataclasses import dataclass, field, replace

PAGE = 4096
USER_TOP = 0x7F8000000000
WINDOW, WINDOW_PAGES = 0x10000000, 64
BRK = WINDOW + 80 * PAGE
FIRST = 0x10000 // PAGE  # mappings are not placed below
FAULT = -1

READ, WRITE, EXEC = 1, 2, 4
SHARED, PRIVATE, FIXED, ANONYMOUS, NOREPLACE = 1, 2, 0x10, 0x20, 0x100000
MAYMOVE, REMAP_FIXED, DONTUNMAP = 1, 2, 4
DONTNEED, DONTFORK, DOFORK, WIPE, KEEP = 4, 10, 11, 18, 19
VMA_WIPE, VMA_DONTFORK = 0x10000000, 0x20000000


@dataclass
class File:
    pages: int
    writable: bool
    base: int  # content of page 0; -1: zeroes
    content: dict[int, int] = field(default_factory=dict)

    def read(self, index: int) -> int:
        return self.content.get(index, 0 if self.base < 0 else self.base + index)


@dataclass(frozen=True)
class Attributes:
    """All that makes pages belong to one area."""

    prot: int
    flags: int
    file: int | None
    heap: bool = False


@dataclass
class Mapped:
    a: Attributes
    index: int  # in its file
    own: int | None = None  # what was written to this private page; None: what is behind it


@dataclass
class Space:
    pages: dict[int, Mapped] = field(default_factory=dict)  # by page number
    areas: list[tuple[int, int]] = field(default_factory=list)  # borders of the kernel's, as pages
    brk: int = BRK

    def gap(self, n: int) -> int | None:
        for top in (WINDOW // PAGE + WINDOW_PAGES, USER_TOP // PAGE):
            at = top - n
            while at >= FIRST:
                taken = max((p for p in range(at, at + n) if p in self.pages), default=None)
                if taken is None:
                    return at
                at = taken - n
        return None


class Model:
    """Addresses are in bytes at the border and page numbers inside."""

    def __init__(self) -> None:
        self.files = [File(16, False, 1000), File(16, True, 1100)]
        self.spaces: list[Space | None] = [Space(), None, None]
        self.current = 0

    @property
    def space(self) -> Space:
        space = self.spaces[self.current]
        assert space is not None
        return space

    # -- mapping
    def put(self, at: int, n: int, a: Attributes, index: int) -> None:
        for i in range(n):
            self.space.pages[at + i] = Mapped(a, index + i)

    def map(self, addr: int, length: int, prot: int, flags: int, fd: int, off: int) -> int:
        at, n, index = addr // PAGE, length // PAGE, off // PAGE
        if flags & ANONYMOUS:
            file, index = None, 0
            if flags & SHARED:
                file = len(self.files)
                self.files.append(File(n, True, -1))
        else:
            file = fd
            if flags & SHARED and prot & WRITE and not self.files[fd].writable:
                return -errno.EACCES
        taken = any(p in self.space.pages for p in range(at, at + n))
        if flags & NOREPLACE and taken:
            return -errno.EEXIST
        if not flags & (FIXED | NOREPLACE) and (taken or at < FIRST):
            at = self.space.gap(n)
            if at is None:
                return -errno.ENOMEM
        self.put(at, n, Attributes(prot, flags & (SHARED | PRIVATE), file), index)
        return at * PAGE

    def unmap(self, addr: int, length: int) -> int:
        for p in range(addr // PAGE, (addr + length) // PAGE):
            self.space.pages.pop(p, None)
        return 0

    def protect(self, addr: int, length: int, prot: int) -> int:
        for p in range(addr // PAGE, (addr + length) // PAGE):
            page = self.space.pages.get(p)
            if page is None:
                return -errno.ENOMEM
            a = page.a
            if a.file is not None and a.flags & SHARED and prot & WRITE and not self.files[a.file].writable:
                return -errno.EACCES
            page.a = replace(a, prot=prot)
        return 0

    def remap(self, addr: int, old: int, new: int, flags: int, to: int) -> int:
        at, n, m = addr // PAGE, old // PAGE, new // PAGE
        pages = self.space.pages
        fixed, keep = flags & REMAP_FIXED, flags & DONTUNMAP
        if not m or (fixed and not flags & MAYMOVE) or (keep and (not flags & MAYMOVE or n != m)):
            return -errno.EINVAL
        if fixed and to < addr + old and addr < to + new:
            return -errno.EINVAL
        if at not in pages:
            return -errno.EFAULT
        page = pages[at]
        end = next(e for s, e in self.space.areas if s <= at < e)
        if not n:
            if not page.a.flags & SHARED:
                return -errno.EINVAL
        elif at + n > end:
            return -errno.EFAULT
        elif not fixed and not keep:
            if m <= n:
                return self.unmap(addr + new, old - new) or addr
            if end == at + n and not any(p in pages for p in range(end, at + m)):
                self.put(end, m - n, pages[end - 1].a, pages[end - 1].index + 1)
                return addr
            if not flags & MAYMOVE:
                return -errno.ENOMEM
        moved = [pages[p] for p in range(at, at + min(n, m))]
        if fixed:
            self.unmap(to, new)
        target = to // PAGE if fixed else self.space.gap(m)
        if target is None:
            return -errno.ENOMEM
        self.put(target, m, page.a, page.index)
        for i, old_page in enumerate(moved):
            pages[target + i].own = old_page.own
            old_page.own = None
        if n and not keep:
            self.unmap(addr, old)
        return target * PAGE

    def advise(self, addr: int, length: int, advice: int) -> int:
        hole = False
        for p in range(addr // PAGE, (addr + length) // PAGE):
            page = self.space.pages.get(p)
            if page is None:
                hole = True
                continue
            a = page.a
            if advice == WIPE and (a.file is not None or a.flags & SHARED):
                return -errno.EINVAL
            if advice == DONTNEED:
                page.own = None
            bit = VMA_WIPE if advice in (WIPE, KEEP) else VMA_DONTFORK if advice in (DONTFORK, DOFORK) else 0
            on = advice in (WIPE, DONTFORK)
            page.a = replace(a, flags=a.flags | bit if on else a.flags & ~bit)
        return -errno.ENOMEM if hole else 0

    # -- access
    def access(self, addr: int, write: bool, value: int = 0) -> int:
        page = self.space.pages.get(addr // PAGE)
        if page is None or not page.a.prot or (write and not page.a.prot & WRITE):
            return FAULT
        file = None if page.a.file is None else self.files[page.a.file]
        if file and page.own is None and page.index >= file.pages:
            return FAULT
        shared = file and page.a.flags & SHARED
        if write and file and shared:
            file.content[page.index] = value
        elif write:
            page.own = value
        if page.own is not None:
            return page.own
        return file.read(page.index) if file else 0

    def read(self, addr: int) -> int:
        return self.access(addr, False)

    def write(self, addr: int, value: int) -> int:
        return self.access(addr, True, value)

    # -- the rest
    def fork(self, n: int) -> int:
        if n == self.current:
            return -errno.EINVAL
        child = copy.deepcopy(self.space)
        child.pages = {p: page for p, page in child.pages.items() if not page.a.flags & VMA_DONTFORK}
        for page in child.pages.values():
            if page.a.flags & VMA_WIPE:
                page.own = None
        self.spaces[n] = child
        return 0

    def switch(self, n: int) -> int:
        self.current = n
        if self.spaces[n] is None:
            self.spaces[n] = Space()
        return 0

    def set_brk(self, addr: int) -> int:
        space = self.space
        old, new = -(-space.brk // PAGE), -(-addr // PAGE)
        if addr < BRK:
            return space.brk
        if new > old:
            if any(p in space.pages for p in range(old, new + 1)):
                return space.brk
            self.put(old, new - old, Attributes(READ | WRITE, PRIVATE, None, heap=True), 0)
        else:
            self.unmap(new * PAGE, (old - new) * PAGE)
        space.brk = addr
        return addr

    def cut(self, pages: int) -> int:
        """The second file gets another size: what is beyond is gone from every mapping, private copies included."""
        file, was = self.files[1], self.files[1].pages
        file.pages = pages
        if pages < was:
            file.content = {i: v for i, v in file.content.items() if i < pages}
            for space in filter(None, self.spaces):
                for page in space.pages.values():
                    if page.a.file == 1 and page.index >= pages:
                        page.own = None
        return 0
