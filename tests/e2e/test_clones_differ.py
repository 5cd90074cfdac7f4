"""The table of docs/clones.md: what every clone of a snapshot has for itself, generator by generator. Each program prints `name value` lines."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BOTH_WAYS = True
REPOSITORY = Path(__file__).parents[2]
MEMORY = ("--memory", "1G")
DEVICE = "import os\nfd = os.open('/dev/quark', os.O_RDWR)\nready = lambda: os.write(fd, b'ready\\n')\n"
GUEST = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\nfrom quark_guest import ready\n"
PYTHON_PROGRAM = """
import ctypes, os, random, secrets, ssl, tempfile, uuid
import numpy as np
from cryptography.hazmat.primitives.asymmetric import x25519
libc, gcrypt = ctypes.CDLL(None), ctypes.CDLL("libgcrypt.so.20")
gcrypt.gcry_check_version(None)
libc.arc4random.restype = ctypes.c_uint32
buffer = ctypes.create_string_buffer(16)
def hello():
    i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
    s = context.wrap_bio(i, o, server_hostname="example.org")
    try:
        s.do_handshake()
    except ssl.SSLWantReadError:
        pass
    data = o.read()
    share = data.index(bytes.fromhex("001d0020")) + 4  # key_share: x25519, 32 bytes (RFC 8446, 4.2.8)
    return data[11:43].hex(), data[share:share + 32].hex()
def gcry(function):
    function(buffer, 16, 1)
    return buffer.raw.hex()
libc.srand(1)
context = ssl.create_default_context()
mine, rng, stream = random.Random(), np.random.default_rng(), open("/dev/urandom", "rb")
def draw():
    client, share = hello()
    return {
        "random": random.random(), "random.Random made before": mine.random(), "numpy.random": np.random.random(),
        "default_rng made before": rng.random(), "default_rng made after": np.random.default_rng().random(),
        "tempfile": tempfile.mktemp(), "ssl.RAND_bytes": ssl.RAND_bytes(16).hex(), "TLS client random": client, "TLS key share": share,
        "cryptography": x25519.X25519PrivateKey.generate().private_bytes_raw().hex(),
        "gcry_randomize": gcry(gcrypt.gcry_randomize), "gcry_create_nonce": gcry(gcrypt.gcry_create_nonce),
        "os.urandom": os.urandom(8).hex(), "secrets": secrets.token_hex(8), "uuid4": uuid.uuid4(), "SystemRandom": random.SystemRandom().random(),
        "urandom read ahead": stream.read(8).hex(), "libc rand": libc.rand(), "libc arc4random": libc.arc4random(), "pid": os.getpid(),
    }
draw()
ready()
for name, value in draw().items():
    print(name, value, sep=": ")
"""
NODE = """
const fs = require('fs'), crypto = require('crypto');
function draw(uuid) { return {randomBytes: crypto.randomBytes(8).toString('hex'), getRandomValues: crypto.webcrypto.getRandomValues(new Uint8Array(8)).join(),
  generateKeyPair: crypto.generateKeyPairSync('x25519').privateKey.export({format: 'jwk'}).d, 'Math.random': Math.random(),
  'randomUUID without stock': crypto.randomUUID({disableEntropyCache: true}), 'pid': process.pid,
  randomUUID: uuid && crypto.randomUUID()}; }
draw(process.argv[2] === 'stock'); fs.writeSync(fs.openSync('/dev/quark', 'r+'), 'ready\\n');
for (const [k, v] of Object.entries(draw(true))) console.log(k + ': ' + v);
"""
BASH = ": $RANDOM; echo ready >/dev/quark; echo RANDOM: $RANDOM$RANDOM$RANDOM; echo SRANDOM: $SRANDOM; echo pid: $$; kill -0 $$"
PERL = """rand; open(Q, '+<', '/dev/quark'); syswrite(Q, "ready\\n"); print "rand: ", rand, "\\n"; srand; print "rand after srand: ", rand, "\\n";"""
RUBY = """require 'securerandom'; rand; SecureRandom.hex(2); IO.for_fd(IO.sysopen('/dev/quark', 'r+'), 'r+').syswrite("ready\\n")
puts "rand: #{rand}", "SecureRandom: #{SecureRandom.hex(8)}", "Random.new made after: #{Random.new.rand}"; srand; puts "rand after srand: #{rand}" """
JAVA = """
import java.io.*; import java.security.*; import java.util.*; import java.util.concurrent.*;
public class Main {
  static SecureRandom secure = new SecureRandom(); static Random mine = new Random();
  static Map<String, Object> draw() { Map<String, Object> m = new LinkedHashMap<>(); m.put("SecureRandom made before", secure.nextLong()); m.put("SecureRandom", new SecureRandom().nextLong());
    m.put("UUID.randomUUID", UUID.randomUUID()); m.put("Math.random", Math.random()); m.put("Random made before", mine.nextLong());
    m.put("ThreadLocalRandom", ThreadLocalRandom.current().nextLong()); return m; }
  public static void main(String[] a) throws Exception { draw(); try (RandomAccessFile f = new RandomAccessFile("/dev/quark", "rw")) { f.write("ready\\n".getBytes()); }
    draw().forEach((k, v) -> System.out.println(k + ": " + v)); System.exit(0); } }
"""


def draws(quark, argv, *options):
    """What two clones of a program drew, by name."""
    done = quark("snapshot", "create", "s", "--ready-file", *MEMORY, *options, "--", *argv)
    assert done.status == 0, done.err
    found = []
    for _ in range(2):
        done = quark("run", "--from-snapshot", "s", timeout=60)
        assert done.status == 0, done.err
        found.append(dict(line.split(": ", 1) for line in done.out.splitlines()))
    assert found[0]
    return found


def same(quark, argv, *options):
    """Names whose values two clones share."""
    one, two = draws(quark, argv, *options)
    return {name for name, value in one.items() if two[name] == value}


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


# What stays the same in clones in any case, see the table.
ALWAYS = {"random.Random made before", "default_rng made before", "urandom read ahead", "libc rand", "pid"}


def test_python_that_knows_of_quark(quark):
    assert same(quark, [sys.executable, "-c", GUEST + PYTHON_PROGRAM]) == ALWAYS


def test_python_that_does_not(quark):
    # `random` and the like are Python's own affair: only quark_guest reaches them.
    assert same(quark, [sys.executable, "-c", DEVICE + PYTHON_PROGRAM]) == ALWAYS | {
        "random",
        "numpy.random",
        "tempfile",
    }


def test_without_the_library(quark):
    found = same(quark, [sys.executable, "-c", DEVICE + PYTHON_PROGRAM], "--no-reseed")
    assert found >= {
        "ssl.RAND_bytes",
        "TLS client random",
        "TLS key share",
        "cryptography",
        "gcry_create_nonce",
        "random",
    }


def test_python_alone(quark):
    """quark_guest without the library reaches what the interpreter has."""
    found = same(quark, [sys.executable, "-c", GUEST + PYTHON_PROGRAM], "--no-reseed")
    assert not found & {"random", "numpy.random", "tempfile", "ssl.RAND_bytes", "TLS client random", "TLS key share"}


@needs("node")
def test_node(quark, tmp_path):
    program = tmp_path / "app.js"
    program.write_text(NODE)
    assert same(quark, [shutil.which("node"), program]) == {"Math.random", "pid"}


@needs("node")
def test_node_keeps_identifiers_in_stock(quark, tmp_path):
    program = tmp_path / "app.js"
    program.write_text(NODE)
    assert same(quark, [shutil.which("node"), program, "stock"]) == {"Math.random", "pid", "randomUUID"}


def test_bash(quark):
    assert same(quark, ["/bin/bash", "-c", BASH]) == {"pid"}


def test_bash_in_the_original_keeps_its_seed(quark):
    """What is no clone is not touched: a seed that a script sets counts, and so it does in a subshell's parent."""
    script = "RANDOM=42; echo $RANDOM $RANDOM; x=$(true); echo $RANDOM"
    done = quark("run", "--env", "LD_PRELOAD=/dev/quark-reseed.so", "--", "/bin/bash", "-c", script)
    assert done.out == subprocess.check_output(["/bin/bash", "-c", script], text=True), done.err


def test_perl(quark):
    assert same(quark, ["/usr/bin/perl", "-e", PERL]) == {"rand"}


@needs("ruby")
def test_ruby(quark):
    assert same(quark, [shutil.which("ruby"), "-e", RUBY]) == {"rand"}


@needs("javac")
def test_java(quark, tmp_path):
    (tmp_path / "Main.java").write_text(JAVA)
    subprocess.run(["javac", "Main.java"], cwd=tmp_path, check=True, timeout=100)
    assert same(quark, [shutil.which("java"), "-Xint", "-cp", tmp_path, "Main"]) == {
        "Math.random",
        "Random made before",
        "ThreadLocalRandom",
    }


def test_a_forked_child_of_a_clone_is_another_again(quark):
    code = """
import ssl
ssl.RAND_bytes(4); ready()
r, w = os.pipe()
if os.fork() == 0:
    os.write(w, ssl.RAND_bytes(8)); os._exit(0)
os.wait()
print("parent", ssl.RAND_bytes(8).hex(), sep=": "); print("child", os.read(r, 8).hex(), sep=": ")
"""
    one, two = draws(quark, [sys.executable, "-c", DEVICE + code])
    assert len({*one.values(), *two.values()}) == 4


def test_every_process_of_a_clone_is_reached(quark):
    """A worker that was forked before the capture draws in each clone what nobody else does."""
    code = """
import ssl, sys
ssl.RAND_bytes(4)
(r, w), (a, b) = os.pipe(), os.pipe()
if os.fork() == 0:
    ssl.RAND_bytes(4); os.write(b, b"up"); os.read(r, 1); os.write(b, ssl.RAND_bytes(8)); os._exit(0)
os.read(a, 2); ready(); os.write(w, b"x")
print("worker", os.read(a, 8).hex(), sep=": "); print("parent", ssl.RAND_bytes(8).hex(), sep=": ")
"""
    one, two = draws(quark, [sys.executable, "-c", DEVICE + code])
    assert len({*one.values(), *two.values()}) == 4


def test_threads_of_a_clone_draw_different_numbers(quark):
    code = """
import ssl, threading
go, found = threading.Event(), {}
def work(n): ssl.RAND_bytes(4); up[n].set(); go.wait(); found[n] = ssl.RAND_bytes(8).hex()
up = [threading.Event() for _ in range(4)]
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [e.wait() for e in up]; ready(); go.set(); [t.join() for t in threads]
for n, value in found.items(): print(n, value, sep=": ")
"""
    one, two = draws(quark, [sys.executable, "-c", DEVICE + code])
    assert len({*one.values(), *two.values()}) == 8


def test_hooks_run_in_order_with_the_document(quark):
    code = """
import quark_guest
@quark_guest.on_clone
def first(document): print("first:", document["args"])
@quark_guest.on_clone
def second(document): print("second:", document["clone"])
ready(); print("after: ready")
"""
    quark("snapshot", "create", "s", "--ready-file", "--", sys.executable, "-u", "-c", GUEST + code)
    done = quark("run", "--from-snapshot", "s", "--", "a", "b")
    assert done.out == "first: ['a', 'b']\nsecond: True\nafter: ready\n", done.err


def test_a_hook_that_fails_ends_the_clone(quark):
    code = """
import quark_guest
@quark_guest.on_clone
def first(document): raise OSError("no licence for another instance")
@quark_guest.on_clone
def second(document): print("second")
ready(); print("after")
"""
    quark("snapshot", "create", "s", "--ready-file", "--", sys.executable, "-u", "-c", GUEST + code)
    done = quark("run", "--from-snapshot", "s")
    assert done.status == 1
    assert done.out == ""
    assert "no licence for another instance" in done.err


def test_a_preloaded_library_of_the_program_stays(quark):
    code = "ready(); print(os.environ['LD_PRELOAD'])"
    done = quark(
        "snapshot",
        "create",
        "s",
        "--ready-file",
        "--env",
        "LD_PRELOAD=libm.so.6",
        "--",
        sys.executable,
        "-c",
        DEVICE + code,
    )
    assert done.status == 0, done.err
    assert quark("run", "--from-snapshot", "s").out == "libm.so.6:/dev/quark-reseed.so\n"
