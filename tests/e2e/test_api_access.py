"""Who may do what on the unix socket: peer credentials, domains, and the directories of a domain."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from quark.snapshot.v1 import sandboxes_pb2 as sb

NOBODY, GROUP = 65534, 54321
# As another user: every line of the answer is what one call gave, or the class of its error.
CLIENT = """
import json, sys
import quark
from quark.errors import QuarkError
with quark.connect(sys.argv[1], domain=sys.argv[2]) as c:
    for expression in sys.argv[3:]:
        try:
            print(json.dumps(eval(expression)))
        except QuarkError as e:
            print(json.dumps(type(e).__name__))
"""
CREATE = "c.create_snapshot('s', ['/bin/sh', '-c', 'echo ready >/dev/quark; read x; echo $x'], rootfs='/usr').name"
NAMES = "[s.name for s in c.list_snapshots()]"
IDS = "[s.id for s in c.list_sandboxes()]"
UNKNOWN, DENIED = "SandboxUnknownError", "AccessError"


@pytest.fixture
def public():
    """A directory that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="quark-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_user(public):
    """Calls as another user on the daemon's public socket."""
    if os.geteuid():
        pytest.skip("needs root, to become another user")

    def call(*expressions, uid=NOBODY, gid=NOBODY, groups=(), domain=""):
        command = [sys.executable, "-P", "-c", CLIENT, f"unix:{public}/s", domain, *expressions]
        done = subprocess.run(
            command, user=uid, group=gid, extra_groups=groups, cwd="/", capture_output=True, text=True, check=False, timeout=60
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return call


@pytest.fixture
def two_domains(make_daemon, connect, public):
    """A daemon with a domain for another user, and a client of its own user."""
    (public / "allowed").mkdir()
    (public / "allowed" / "file").write_text("allowed")
    config = f"""
        socket = "{public}/s"
        [[domains]]
        name = "theirs"
        users = [{NOBODY}]
        groups = [{GROUP}]
        paths = ["{public}/allowed", "/usr"]
    """
    daemon = make_daemon(config)
    return connect(f"unix:{daemon.socket}", daemon)


def test_another_user_has_a_domain_of_its_own(two_domains, as_user):
    api = two_domains
    api.create("s")
    api.create("secret")
    mine = api.start(clone="secret")
    assert as_user(CREATE, NAMES, IDS, "c.run(snapshot='s', stdin=b'in\\n').stdout.decode()") == [
        "s",
        ["s"],
        [],
        "in\n",
    ]
    theirs = as_user("c.start(snapshot='s').id", IDS)
    assert theirs[1] == [theirs[0]]
    # None of what the other domain has can be seen, let alone touched.
    s = f"c.sandbox('{mine}')"
    calls = [f"{s}.{call}" for call in ("state()", "wait()", "kill()", "pause()", "resume()", "capture('x')")]
    assert as_user(*calls, f"list({s}.attach())") == [UNKNOWN] * 7
    calls = [
        "c.get_snapshot('secret')",
        "c.delete_snapshot('secret')",
        "c.run(snapshot='secret')",
        "c.warm_snapshot('secret')",
    ]
    assert as_user(*calls, "c.flatten_snapshot('secret')") == ["SnapshotUnknownError"] * 5
    assert as_user("c.statistics().domain", "c.statistics().snapshots") == ["theirs", 1]
    # Nor the other way round, unless the daemon's user asks for that domain.
    assert api.names() == ["s", "secret"]
    assert [x.id for x in api.list().sandboxes] == [mine]
    with api.failure("NOT_FOUND"):
        api.kill(theirs[0])
    inside = {"metadata": (("quark-domain", "theirs"),), "timeout": 30}
    assert [x.id for x in api.sandboxes.ListSandboxes(sb.ListSandboxesRequest(), **inside).sandboxes] == [theirs[0]]
    api.sandboxes.KillSandbox(sb.KillSandboxRequest(id=theirs[0]), **inside)
    # A name is one of a domain: what it is deleted from there stays here.
    assert as_user("c.delete_snapshot('s')", NAMES) == [None, []]
    assert api.names() == ["s", "secret"]
    assert api.sandbox(mine).state == sb.Sandbox.RUNNING


def test_whose_domain_it_is(two_domains, as_user):
    every = (NAMES, IDS, "c.statistics().domain", CREATE, "c.run(['/bin/true'])", "c.check_store()")
    assert as_user(*every, uid=12345, gid=12345) == [DENIED] * 6
    assert as_user(*every, domain="default") == [DENIED] * 6
    assert as_user(NAMES, domain="none") == [DENIED]
    assert as_user("c.statistics().domain", domain="theirs") == ["theirs"]
    # By the group that the process runs as.
    assert as_user("c.statistics().domain", uid=12345, gid=GROUP) == ["theirs"]
    for wanted in ("none", "../default"):
        with two_domains.failure("PERMISSION_DENIED") as f:
            two_domains.start("true", metadata=(("quark-domain", wanted),))
        assert (f.reason, f.exit_code) == ("AccessError", 76)
        assert "theirs" in f.message


def test_other_ways_in_are_closed(two_domains, public, as_user):
    """gRPC's own socket, the store and the pager belong to the daemon's user alone."""
    root = two_domains.daemon.root
    assert root.stat().st_mode & 0o077 == 0
    for path in [p for p in (root / "run").rglob("*") if p.is_socket()]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert (public / "s").stat().st_mode & 0o777 == 0o666
    assert as_user("c.statistics().domain") == ["theirs"]


def test_directories_of_a_domain(two_domains, public, as_user):
    run = "c.run(['/bin/sh', '-c', 'cat /data/*'], rootfs='/usr', volumes=[({!r}, '/data')]).stdout.decode()"
    allowed = public / "allowed"
    (public / "outside").mkdir()
    (public / "outside" / "file").write_text("outside")
    (public / "allowed-too").symlink_to(public / "outside")
    (allowed / "link").symlink_to(public / "outside")
    (allowed / "up").symlink_to("..")
    (allowed / "inside").mkdir()
    (allowed / "inside" / "file").write_text("inside")
    (allowed / "around").symlink_to("inside")
    good = [allowed / "inside", allowed / "around"]
    assert as_user(*(run.format(str(path)) for path in good)) == ["inside", "inside"]
    bad = ["/etc", public, public / "outside", public / "allowed-too", allowed / "link", allowed / "up" / "outside",
           f"{allowed}/../outside", f"{allowed}/inside/../../outside", "/usr/../etc", "/proc/self/root/etc"]  # fmt: skip
    assert as_user(*(run.format(str(path)) for path in bad)) == ["PathDeniedError"] * len(bad)
    roots = ["/", "/etc", str(allowed / "link"), "/usr/.."]
    assert as_user(*(f"c.run(['/bin/true'], rootfs={path!r})" for path in roots)) == ["PathDeniedError"] * 4
    # A link in a volume is followed inside the sandbox, where there is nothing.
    follow = f"c.run(['/bin/sh', '-c', 'cat /data/link/file; ls /data/up'], rootfs='/usr', volumes=[({str(allowed)!r}, '/data')])"
    text = as_user(f"(lambda r: (r.stdout + r.stderr).decode())({follow})")[0]
    assert "outside\n" not in text
    assert "No such file" in text
    # It is a matter of the domain, not of who asks.
    with two_domains.failure("PERMISSION_DENIED") as f:
        two_domains.start("true", metadata=(("quark-domain", "theirs"),))
    assert (f.reason, f.exit_code) == ("PathDeniedError", 75)
    assert two_domains.run("true").sandbox.exit_status == 0


@pytest.mark.usefixtures("two_domains")
def test_a_directory_that_changes_after_the_capture(public, as_user):
    """A clone takes over the volumes of its snapshot, and they are looked at again."""
    volume = public / "allowed" / "v"
    volume.mkdir()
    create = (
        "c.create_snapshot('v', ['/bin/sh', '-c', 'echo ready >/dev/quark; cat /data/file'], rootfs='/usr', "
        f"volumes=[({str(volume)!r}, '/data')]).name"
    )
    (volume / "file").write_text("inside")
    assert as_user(create, "c.run(snapshot='v').stdout.decode()") == ["v", "inside"]
    shutil.rmtree(volume)
    (public / "outside").mkdir()
    (public / "outside" / "file").write_text("outside")
    volume.symlink_to(public / "outside")
    assert as_user("c.run(snapshot='v').stdout.decode()") == ["PathDeniedError"]


@pytest.mark.usefixtures("two_domains")
def test_files_in_volumes_are_those_of_who_asks(public, as_user):
    """The daemon is root's; its callers have no more rights on files in their sandboxes than they have themselves."""
    volume, image = public / "allowed" / "v", public / "allowed" / "image"
    for folder, owner in ((volume, NOBODY), (image, 0)):
        folder.mkdir()
        os.chown(folder, owner, owner)
    (image / "precious").write_text("root's\n")
    (volume / "group").write_text("")
    os.chown(volume / "group", 0, GROUP)
    (volume / "group").chmod(0o660)
    script = (
        "touch /v/made; mkdir /v/folder; chmod 4755 /v/made; echo more >>/v/group; "
        "for f in /i/precious /i/new; do echo gone >$f; chmod 666 $f; rm -f $f; mv $f /i/other; done; ls -n /i | wc -l"
    )
    run = (
        f"c.run(['/bin/sh', '-c', {script!r}], rootfs='/usr', "
        f"volumes=[({str(volume)!r}, '/v'), ({str(image)!r}, '/i')]).stdout.decode()"
    )
    assert as_user(run, groups=[GROUP]) == ["2\n"]
    for made in ("made", "folder"):
        st = (volume / made).stat()
        assert (st.st_uid, st.st_gid) == (NOBODY, NOBODY), made
    assert (volume / "made").stat().st_mode & 0o7777 == 0o755
    assert os.listdir(image) == ["precious"]
    assert (image / "precious").read_text() == "root's\n"
    assert (image / "precious").stat().st_mode & 0o777 == 0o644
    # A group that the host's databases do not say this user is in is none that the daemon knows of.
    assert (volume / "group").read_text() == ""


def test_the_volumes_user_is_chosen_by_root_alone(two_domains, public, as_user):
    volume = public / "allowed" / "v"
    volume.mkdir()
    volume.chmod(0o777)
    made = volume / "made"
    mounted = f"rootfs='/usr', volumes=[({str(volume)!r}, '/v')]"
    run = f"c.run(['/bin/sh', '-c', 'touch /v/made; chmod 4755 /v/made'], {mounted}, {{}}).exit_status"
    create = f"c.create_snapshot('v', ['/bin/sh', '-c', 'touch /v/made; echo ready >/dev/quark'], {mounted}, {{}}).name"

    def owner():
        st = made.stat()
        made.unlink()
        return st.st_uid, st.st_gid, st.st_mode & 0o7000

    users = ("volume_user='root'", "volume_user='4711:12'", f"volume_user='{NOBODY}:0'")
    assert as_user(*(ask.format(user) for user in users for ask in (run, create))) == [DENIED] * 6
    assert not made.exists()
    assert as_user(run.format(f"volume_user='{NOBODY}', allow_set_id=True")) == [0]
    assert owner() == (NOBODY, NOBODY, 0o4000)
    assert as_user("c.run(['/bin/true'], volume_user='nosuchuser')") == ["FieldError"]
    by_root = {"uid": 0, "gid": 0, "domain": "theirs"}
    assert as_user(run.format("volume_user='4711:12'"), **by_root) == [0]
    assert owner() == (4711, 12, 0)
    assert as_user(create.format("volume_user='4711:12'"), **by_root) == ["v"]
    assert owner() == (4711, 12, 0)
    # A clone's request says it anew.
    assert as_user("c.run(snapshot='v', volume_user='4711:12').exit_status", **by_root) == [0]
    with two_domains.failure("INVALID_ARGUMENT") as f:
        two_domains.run("true", volume_access=sb.VolumeAccess(user="nosuchuser"))
    assert f.fields == ("volume_access.user",)


# Holds `count` connections to sys.argv[1] open until its standard input ends.
HOLD = """
import socket, sys
kind = socket.SOCK_SEQPACKET if "session" in sys.argv[1] else socket.SOCK_STREAM
held = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX, kind)
    s.connect(sys.argv[1])
    held.append(s)
print("held", flush=True)
sys.stdin.read()
"""


def test_names_of_connections_cannot_be_taken_by_others(two_domains, as_user):
    """A name that somebody else has bound already would keep a caller out. Those of this daemon cannot be told in advance."""
    two_domains.names()
    shown = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if "@quark/" in line}
    assert shown
    before = {name.removeprefix("@quark/") for name in shown}
    assert all(len(name) == 32 for name in before), before
    # The next connection has a name that has nothing in common with those before.
    assert as_user(NAMES) == [[]]
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("\0quark/0/65534/0")  # what the next name was called when it could be told
        assert as_user(NAMES) == [[]]


@pytest.mark.parametrize("where", ["s", "session.sock"])
def test_idle_connections_lock_nobody_out(make_daemon, connect, public, as_user, quark, where):
    config = f"""
        socket = "{public}/s"
        [[domains]]
        name = "theirs"
        users = [{NOBODY}]
        paths = ["/usr"]
    """
    # Few descriptors, so that few connections are many.
    daemon = make_daemon(config, descriptors=1024)
    api = connect(f"unix:{daemon.socket}", daemon)
    command = [sys.executable, "-c", HOLD, str(public / where), "100"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=NOBODY, group=NOBODY) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert api.names() == []
        assert quark("run", "--", "/bin/true").status == 0
        refused = [line for line in daemon.log.read_text().splitlines() if "connections refused" in line]
        assert len(refused) == 1
        holder.stdin.close()
    assert as_user(NAMES) == [[]]
