"""/proc, /sys: what is in the files, the shape of it where the values are the machine's own. The same lines natively and in a sandbox."""

import os
import re
import threading

INT = r"\d+"


def shaped(path, pattern):
    """Every line of a file has this shape."""
    with open(path) as f:
        lines = f.read().splitlines()
    wrong = [line for line in lines if not re.fullmatch(pattern, line)]
    print(path, "lines" if lines else "empty", wrong[:3])


def has(path, *keys):
    with open(path) as f:
        found = {re.split(r"[:\s]", line)[0] for line in f}
    print(path, "lacks", sorted(set(keys) - found))


shaped("/proc/uptime", rf"{INT}\.\d\d {INT}\.\d\d")
shaped("/proc/loadavg", rf"(\d+\.\d\d ){{3}}{INT}/{INT} {INT}")
shaped("/proc/self/io", rf"\w+: {INT}")
shaped("/proc/self/statm", rf"({INT} ){{6}}{INT}")
shaped("/proc/self/limits", r"(Limit|Max) .*")
shaped("/proc/vmstat", rf"\w+ {INT}")
shaped("/proc/self/cgroup", r"\d+:[^:]*:/.*")
shaped("/proc/sys/kernel/random/uuid", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
shaped("/proc/sys/kernel/pid_max", INT)
shaped("/proc/sys/fs/file-nr", rf"{INT}\t{INT}\t{INT}")
shaped("/proc/sys/vm/overcommit_memory", r"[012]")
shaped("/sys/devices/system/cpu/online", r"[\d,-]+")
shaped("/sys/devices/system/cpu/cpu0/topology/core_id", INT)
has(
    "/proc/meminfo",
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapTotal",
    "SwapFree",
    "Shmem",
    "AnonPages",
    "Slab",
)
has("/proc/stat", "cpu", "cpu0", "intr", "ctxt", "btime", "processes", "procs_running", "procs_blocked")
has(
    "/proc/self/status",
    "Name",
    "State",
    "Tgid",
    "Pid",
    "PPid",
    "Uid",
    "Gid",
    "VmPeak",
    "VmSize",
    "VmRSS",
    "VmData",
    "VmStk",
    "VmExe",
    "VmLib",
    "Threads",
    "NSpid",
)
has("/proc/cpuinfo", "processor", "vendor_id", "model", "flags")
has("/proc/vmstat", "nr_free_pages", "pgfault", "pswpin", "pswpout", "pgpgin", "pgpgout")
print(open("/proc/net/unix").readline().split())

fields = open("/proc/self/stat").read().rpartition(")")[2].split()
print("stat", len(fields), fields[1] == str(os.getppid()))
print(
    "ns", sorted(os.listdir("/proc/self/ns"))[:8], bool(re.fullmatch(r"mnt:\[\d+\]", os.readlink("/proc/self/ns/mnt")))
)
print("ns stat", os.stat("/proc/self/ns/uts").st_ino == int(re.findall(r"\d+", os.readlink("/proc/self/ns/uts"))[0]))


def counted(name):
    return int(dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())[name])


before = counted("wchar")
with open("/dev/null", "wb", 0) as f:
    f.write(b"x" * 5000)
print("io", 5000 <= counted("wchar") - before < 6000)

# Closing descriptors while they are listed: none is missed, none comes twice.
fds = [os.dup(0) for _ in range(600)]
seen = []
with os.scandir("/proc/self/fd") as entries:
    for entry in entries:
        seen.append(int(entry.name))
        if seen[-1] in fds and seen[-1] % 2:
            os.close(seen[-1])
print("fds", set(fds) <= set(seen), len(seen) == len(set(seen)))
for fd in fds:
    if not fd % 2:
        os.close(fd)

# The names of threads are set through /proc (pthread_setname_np of another thread).
go, done = threading.Event(), threading.Event()
thread = threading.Thread(target=lambda: (go.set(), done.wait()))
thread.start()
go.wait()
with open(f"/proc/self/task/{thread.native_id}/comm", "w") as f:
    f.write("a-long-name-for-a-thread")
print(open(f"/proc/self/task/{thread.native_id}/comm").read().strip())
print(sorted(os.listdir("/proc/self/task")) == sorted(str(t) for t in (os.getpid(), thread.native_id)))
done.set()
thread.join()

with open("/proc/self/oom_score_adj", "w") as f:
    f.write("500")
print(open("/proc/self/oom_score_adj").read().strip())
for text in ("1001", "x", ""):
    try:
        with open("/proc/self/oom_score_adj", "w") as f:
            f.write(text)
        print("written", repr(text))
    except OSError as e:
        print(repr(text), e.strerror)
for path, flags in (
    ("/proc/uptime", os.O_WRONLY),
    ("/proc/self/nothing", os.O_RDONLY),
    ("/proc/new", os.O_WRONLY | os.O_CREAT),
):
    try:
        os.close(os.open(path, flags))
        print(path, "opened")
    except OSError as e:
        print(path, e.strerror)
print(
    "dups",
    [d for d in ("/proc", "/proc/self", "/sys", "/proc/sys/kernel") if len(os.listdir(d)) != len(set(os.listdir(d)))],
)
