"""The line discipline of a pseudo-terminal, byte for byte: what the reader gets and what is echoed, in many modes."""

import errno
import fcntl
import os
import select
import struct
import termios
import tty

TIOCGPTN = 0x80045430
IFLAG, OFLAG, LFLAG, CC = 0, 1, 3, 6
KEYS = [
    b"plain\n",
    b"er\x7f\x7fased\n",
    b"kill this\x15not this\n",
    b"two words \x17one\n",
    b"under_score-x\x17\x17y\n",
    b"tab\there\x7f\x7f\x7f\x7f\x7fx\n",
    b"a\tb\t\x7f\x7f\n",
    b"control \x01\x02\x7f\x7f\n",
    b"literal \x16\x03 \x16\x7f\x7f\x7f\n",
    b"re\x12print\n",
    b"two\nlines\n",
    b"no end\x04",
    b"\x04",
    b"cr\rnl\n",
    "ünï\x7f\x7fx\n".encode(),
    b"\xff\xfe\n",
    b"UPPER lower\n",
    b"stop\x13go\x11on\n",
    b"\x7f\x15\x17\n",
]
MODES = {
    "standard": {},
    "no echo": {LFLAG: (0, termios.ECHO)},
    "newline only": {LFLAG: (termios.ECHONL, termios.ECHO)},
    "no echoe": {LFLAG: (0, termios.ECHOE)},
    "no echok": {LFLAG: (0, termios.ECHOK | termios.ECHOKE)},
    "no echoke": {LFLAG: (0, termios.ECHOKE)},
    "no echoctl": {LFLAG: (0, termios.ECHOCTL)},
    "hard copy": {LFLAG: (termios.ECHOPRT, 0)},
    "no iexten": {LFLAG: (0, termios.IEXTEN)},
    "utf-8": {IFLAG: (0o40000, 0)},
    "no icrnl": {IFLAG: (0, termios.ICRNL)},
    "igncr, inlcr": {IFLAG: (termios.IGNCR | termios.INLCR, 0)},
    "strip, lower": {IFLAG: (termios.ISTRIP | termios.IUCLC, 0)},
    "no ixon": {IFLAG: (0, termios.IXON)},
    "no opost": {OFLAG: (0, termios.OPOST)},
    "upper, tabs": {OFLAG: (termios.OLCUC | termios.XTABS, 0)},
    "ocrnl, onocr": {OFLAG: (termios.OCRNL | termios.ONOCR, termios.ONLCR)},
    "onlret": {OFLAG: (termios.ONLRET, 0)},
    "not canonical": {LFLAG: (0, termios.ICANON)},
    "no isig": {LFLAG: (0, termios.ISIG)},
}


def drain(fd, first=0.2, seconds=0.03):
    """What comes until nothing more does."""
    out = b""
    select.select([fd], [], [], first)
    while select.select([fd], [], [], seconds)[0]:
        try:
            data = os.read(fd, 4096)
        except OSError as e:
            return out + b"<%s>" % errno.errorcode[e.errno].encode()
        if not data:
            return out + b"<eof>"
        out += data
    return out


def number(master):
    return struct.unpack("i", fcntl.ioctl(master, TIOCGPTN, bytes(4)))[0]


def lines(fd):
    """Reads one by one."""
    out = []
    while select.select([fd], [], [], 0 if out else 0.5)[0]:
        out.append(os.read(fd, 64))
        if len(out) > 6:
            break
    return out


def keys():
    for name, changes in MODES.items():
        master, slave = os.openpty()
        mode = termios.tcgetattr(slave)
        for index, (on, off) in changes.items():
            mode[index] = (mode[index] | on) & ~off
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        for typed in KEYS if name == "standard" else KEYS[::3]:
            os.write(master, typed)
            echo = drain(master) if mode[LFLAG] & termios.ECHO else b""
            got = lines(slave)
            os.write(slave, b"out\tput\r\n")
            print(name, typed, echo, got, drain(master))
        os.close(master)
        os.close(slave)


def packets():
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCPKT, struct.pack("i", 1))
    os.write(slave, b"data\n")
    print("packet", os.read(master, 100))
    termios.tcflush(slave, termios.TCIFLUSH)
    print("flush", os.read(master, 100))
    for action in (termios.TCOOFF, termios.TCOON):
        termios.tcflow(slave, action)
        print("flow", os.read(master, 100))
    mode = termios.tcgetattr(slave)
    mode[IFLAG] &= ~termios.IXON
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    print("no flow control", os.read(master, 100))
    os.close(slave)
    print("end", drain(master))
    os.close(master)


def ends():
    master, slave = os.openpty()
    print("size", fcntl.ioctl(slave, termios.TIOCGWINSZ, bytes(8)))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    print("size", struct.unpack("HHHH", fcntl.ioctl(slave, termios.TIOCGWINSZ, bytes(8))))
    print("input", struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, bytes(4))))
    os.write(master, b"abc\ndef")
    drain(master)
    print("input", struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, bytes(4))))
    tty.setraw(slave)
    print("now raw", drain(slave))
    os.write(slave, b"last")
    os.close(slave)
    print("slave closed", drain(master))
    slave = os.open(f"/dev/pts/{number(master)}", os.O_RDWR | os.O_NOCTTY)
    os.write(slave, b"again")
    print("opened again", drain(master), os.isatty(slave), os.ttyname(slave).startswith("/dev/pts/"))
    os.close(master)
    print("master closed", os.read(slave, 10))
    try:
        os.write(slave, b"x")
    except OSError as e:
        print("master closed", e.errno)
    locked = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    try:
        os.open(f"/dev/pts/{number(locked)}", os.O_RDWR | os.O_NOCTTY)
    except OSError as e:
        print("locked", e.errno)


def minimum_and_time():
    master, slave = os.openpty()
    mode = termios.tcgetattr(slave)
    mode[LFLAG] &= ~(termios.ICANON | termios.ECHO)
    for least, tenths, typed in ((0, 0, b""), (0, 1, b""), (0, 1, b"a"), (3, 0, b"abcd"), (3, 1, b"ab"), (1, 1, b"x")):
        mode[CC][termios.VMIN], mode[CC][termios.VTIME] = least, tenths
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        os.write(master, typed)
        print("min", least, "time", tenths, os.read(slave, 10))


def many():
    """More than the 256 that a device number of sixteen bits could tell apart."""
    pairs = [os.openpty() for _ in range(300)]
    print(
        "pairs",
        len(pairs),
        "named after their minor",
        all(os.ttyname(s) == f"/dev/pts/{os.minor(os.fstat(s).st_rdev)}" for _, s in pairs),
    )
    for master, slave in pairs:
        os.close(slave)
        os.close(master)


def old_forms():
    """The System V form of the mode, and the bits that a privileged program fixes (ioctl_tty(2))."""
    get, put, get_fixed, put_fixed = 0x5405, 0x5406, 0x5456, 0x5457  # TCGETA, TCSETA, TIOCGLCKTRMIOS, TIOCSLCKTRMIOS
    master, slave = os.openpty()
    short = bytearray(fcntl.ioctl(slave, get, bytes(18)))
    print("short form", short[:9], short[9:17])
    struct.pack_into("H", short, 6, struct.unpack_from("H", short, 6)[0] & ~termios.ECHO)
    short[9] = 7
    fcntl.ioctl(slave, put, bytes(short))
    mode = termios.tcgetattr(slave)
    print("set by it", bool(mode[LFLAG] & termios.ECHO), bool(mode[LFLAG] & termios.IEXTEN), mode[CC][0], mode[CC][8])
    print("fixed", set(fcntl.ioctl(slave, get_fixed, bytes(36))))
    fcntl.ioctl(slave, put_fixed, struct.pack("IIIIB19s", 0, 0, 0, termios.ECHO, 0, bytes([1] + [0] * 18)))
    mode[LFLAG] |= termios.ECHO
    mode[LFLAG] &= ~termios.ICANON
    mode[CC][0] = b"\x03"
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    mode = termios.tcgetattr(slave)
    print("stays", bool(mode[LFLAG] & termios.ECHO), mode[CC][0], "changes", bool(mode[LFLAG] & termios.ICANON))
    os.close(slave)
    os.close(master)


keys()
packets()
ends()
old_forms()
minimum_and_time()
many()
