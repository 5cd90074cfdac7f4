"""Extended attributes between the host and a sandbox: of volumes both ways, of the rootfs as they are, and never other kinds than user.*."""

import os

import pytest


@pytest.fixture
def folder(tmp_path):
    try:
        os.setxattr(tmp_path, "user.probe", b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes in {tmp_path}: {error}")
    return tmp_path


def test_a_volume_has_those_of_the_host(quark, folder):
    (folder / "file").write_text("text")
    os.setxattr(folder / "file", "user.host", b"from the host")
    code = (
        "import os\n"
        "print(os.listxattr('/v/file'), os.getxattr('/v/file', 'user.host'))\n"
        "os.setxattr('/v/file', 'user.guest', bytes(range(200)))\n"
        "os.removexattr('/v/file', 'user.host')\n"
        "for name in 'security.other', 'trusted.x', 'system.posix_acl_access':\n"
        "    try: os.setxattr('/v/file', name, b'x')\n"
        "    except OSError as e: print(name, e.strerror)\n"
        "try: os.setxattr('/v/file', 'user.guest', b'', os.XATTR_CREATE)\n"
        "except OSError as e: print(e.strerror)\n"
        "try: os.getxattr('/v/file', 'user.none')\n"
        "except OSError as e: print(e.strerror)\n"
    )
    done = quark("run", "-v", f"{folder}:/v", "--", "/usr/bin/python3.11", "-c", code)
    assert done.status == 0, done.err
    assert done.out.splitlines() == [
        "['user.host'] b'from the host'",
        "security.other Operation not supported",
        "trusted.x Operation not supported",
        "system.posix_acl_access Operation not supported",
        "File exists",
        "No data available",
    ]
    assert os.listxattr(folder / "file") == ["user.guest"]
    assert os.getxattr(folder / "file", "user.guest") == bytes(range(200))


def test_a_read_only_volume_is_not_changed(quark, folder):
    code = "import os\ntry: os.setxattr('/v', 'user.x', b'x')\nexcept OSError as e: print(e.strerror)"
    done = quark("run", "-v", f"{folder}:/v:ro", "--", "/usr/bin/python3.11", "-c", code)
    assert done.out == "Read-only file system\n"
    assert os.listxattr(folder) == ["user.probe"]


def test_the_rootfs_shows_them_and_keeps_them_as_they_are(quark, folder):
    (folder / "file").write_text("text")
    os.setxattr(folder / "file", "user.host", b"1")
    code = (
        f"import os; p = {str(folder / 'file')!r}; print(os.listxattr(p)); open(p, 'a').write('more'); os.setxattr(p, 'user.own', b'2')\n"
        "print(sorted(os.listxattr(p)), os.getxattr(p, 'user.host')); os.removexattr(p, 'user.host'); print(os.listxattr(p))"
    )
    done = quark("run", "--", "/usr/bin/python3.11", "-c", code)
    assert done.out.splitlines() == ["['user.host']", "['user.host', 'user.own'] b'1'", "['user.own']"], done.err
    assert os.listxattr(folder / "file") == ["user.host"]


def test_an_open_file_without_a_name_keeps_them(quark, folder):
    code = (
        "import os\n"
        "f = os.open('/v/file', os.O_RDWR | os.O_CREAT); os.setxattr(f, 'user.a', b'1'); os.unlink('/v/file')\n"
        "print(os.getxattr(f, 'user.a'), os.listxattr(f)); os.setxattr(f, 'user.b', b'2'); os.removexattr(f, 'user.a')\n"
        "open('/v/file', 'x').close(); print(os.listxattr(f), os.listxattr('/v/file'))\n"
        "t = os.open('/v', os.O_RDWR | os.O_TMPFILE); os.setxattr(t, 'user.t', b'3'); print(os.listxattr(t))\n"
        "r = os.open('/r/old', os.O_RDONLY); print(os.getxattr(r, 'user.host'))\n"
        "try: os.setxattr(r, 'user.x', b'')\n"
        "except OSError as e: print(e.strerror)\n"
    )
    (folder / "old").write_text("text")
    os.setxattr(folder / "old", "user.host", b"h")
    done = quark("run", "-v", f"{folder}:/v", "-v", f"{folder}:/r:ro", "--", "/usr/bin/python3.11", "-c", code)
    assert done.out.splitlines() == [
        "b'1' ['user.a']",
        "['user.b'] []",
        "['user.t']",
        "b'h'",
        "Read-only file system",
    ], done.err
