"""What the daemon tells about itself: the Prometheus endpoint, its logs, and traces at a real collector."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

SCRIPT = "a=$(head -c 3000000 /dev/urandom | od); echo ready >/dev/quark; echo ${#a}; read x"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def scrape(port):
    """Every sample, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for s in family.samples:
            samples[s.name, *sorted(s.labels.items())] = s.value
    return samples


def test_the_endpoint(make_daemon, connect, port):
    daemon = make_daemon(f'metrics = "127.0.0.1:{port}"')
    api = connect(f"unix:{daemon.socket}", daemon)
    empty = scrape(port)
    assert empty["quark_snapshots", ("domain", "default")] == 0
    assert empty["quark_store_dedup_ratio", ("domain", "default")] == 1
    api.create("s", SCRIPT)
    api.create("t", SCRIPT)
    lengths = {api.run(clone="s", stdin=b"\n").stdout for _ in range(3)}
    assert len(lengths) == 1
    running = api.start(clone="s")
    time.sleep(0.3)
    now = scrape(port)
    assert now["quark_snapshots", ("domain", "default")] == 2
    assert now["quark_sandboxes_running",] == 1
    assert now["quark_pool_idle",] in {1, 2}
    assert now["quark_store_bytes", ("domain", "default")] == api.numbers().store_bytes > 2_000_000
    assert 1.01 < now["quark_store_dedup_ratio", ("domain", "default")] < 2
    assert now["quark_image_bytes", ("domain", "default")] > 3_000_000
    for kind in ("private", "shared"):
        assert 500_000 < now["quark_sandbox_memory_bytes", ("kind", kind)] < 200_000_000
    # Restores: each step of each of the three clones, and their sum.
    steps = {key[1][1] for key in now if key[0] == "quark_restore_seconds_count"}
    assert {"attach to the image", "start QVisor", "map the image", "run to the first output", "total"} <= steps
    assert now["quark_restore_seconds_count", ("step", "total")] == 3
    total = now["quark_restore_seconds_sum", ("step", "total")]
    parts = sum(
        v for k, v in now.items() if k[0] == "quark_restore_seconds_sum" and k[1] != ("step", "total")
    )  # fmt: skip
    assert 0.002 < total < 6
    assert total == pytest.approx(parts, rel=0.01)
    assert now["quark_restore_seconds_bucket", ("le", "+Inf"), ("step", "total")] == 3
    assert now["quark_sandboxes_ended_total", ("outcome", "exited")] == 5
    calls = {k[2][1]: v for k, v in now.items() if k[0] == "quark_rpc_seconds_count" and k[1] == ("code", "OK")}
    assert (calls["CreateSnapshot"], calls["RunSandbox"]) == (2, 4)
    with api.failure("NOT_FOUND"):
        api.get("none")
    api.kill(running)
    after = scrape(port)
    assert after["quark_rpc_seconds_count", ("code", "NOT_FOUND"), ("method", "GetSnapshot")] == 1
    assert after["quark_sandboxes_running",] == 0
    assert after["quark_sandbox_memory_bytes", ("kind", "private")] == 0


@contextlib.contextmanager
def pager_that_fills_nothing(quark):
    for pid in quark.pagers():
        os.kill(pid, signal.SIGKILL)
    command = [sys.executable, "-P", "-m", "snapshotd.pager", str(quark.root), "--no-fill"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        address = str(quark.root / "run" / "default" / "pager.sock")
        deadline = time.monotonic() + 10
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s, contextlib.suppress(OSError):
                s.connect(address)
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield p
        finally:
            p.terminate()


def test_faults_are_counted(make_daemon, connect, quark, port):
    daemon = make_daemon(f'metrics = "127.0.0.1:{port}"')
    api = connect(f"unix:{daemon.socket}", daemon)
    api.create("s", SCRIPT)
    with pager_that_fills_nothing(quark):
        done = api.run(clone="s", stdin=b"\n")
        assert done.stdout.strip().isdigit()
        api.until(lambda: scrape(port)["quark_restore_faults_total",] > 10, "they are counted at its end")
        assert api.numbers().faults > 10


def test_scrapes_beside_calls(make_daemon, connect, port):
    daemon = make_daemon(f'metrics = "127.0.0.1:{port}"\nkeep_ended = 5')
    api = connect(f"unix:{daemon.socket}", daemon)
    api.create("s", "echo ready >/dev/quark; echo on")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        scrapes = [threads.submit(scrape, port) for _ in range(30)]
        runs = [threads.submit(api.run, clone="s") for _ in range(40)]
        deletes = [threads.submit(lambda n=n: (api.create(f"x{n}"), api.delete(f"x{n}"))) for n in range(10)]
        assert {r.result().stdout for r in runs} == {b"on\n"}
        assert all(("quark_snapshots", ("domain", "default")) in s.result() for s in scrapes)
        for d in deletes:
            d.result()
    api.until(lambda: scrape(port)["quark_restore_seconds_count", ("step", "total")] == 40, "all are counted")


@pytest.mark.parametrize("kind", ["text", "json"])
def test_logs(make_daemon, connect, kind):
    daemon = make_daemon(f'log = "{kind}"')
    api = connect(f"unix:{daemon.socket}", daemon)
    api.run("exit 0")
    evil = 'x\n"error" forged=1'
    with api.failure("NOT_FOUND"):
        api.get(evil)
    daemon.process.terminate()
    daemon.process.wait(20)
    lines = daemon.log.read_text().splitlines()
    parsed = [json.loads(line) if kind == "json" else text_fields(line) for line in lines]
    messages = [p["message"] for p in parsed]
    assert messages[0] == "ready"
    assert set(messages[messages.index("stopping") + 1 :]) <= {"call"}  # a call is logged after its answer
    calls = {p["method"]: p for p in parsed if p["message"] == "call"}
    run = calls["RunSandbox"]
    assert (run["code"], run["domain"], run["caller"], run["level"]) == ("OK", "default", "uid 0", "info")
    assert 0.1 < float(run["ms"]) < 20_000
    bad = calls["GetSnapshot"]
    assert (bad["code"], bad["level"]) == ("NOT_FOUND", "warning")
    assert "forged" in bad["error"]
    assert "forged" not in bad
    if kind == "json":
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", p["time"]) for p in parsed)
    daemon.start()


def text_fields(line):
    """`level message key=value ...`, values as words or as JSON strings."""
    level, _, rest = line.partition(" ")
    assert level in {"debug", "info", "warning", "error"}, line
    message = re.match(r"[^=]*?(?= \w+=|$)", rest)[0]
    pairs = rest[len(message) :]
    assert re.fullmatch(r'( \w+=("(\\.|[^"\\])*"|[^" ]\S*))*', pairs), line
    found = re.findall(r' (\w+)=("(?:\\.|[^"\\])*"|\S+)', pairs)
    return {"level": level, "message": message, **{k: json.loads(v) if v[0] == '"' else v for k, v in found}}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """What an OpenTelemetry collector gets."""

    def __init__(self):
        self.spans = []
        self.services = set()
        self.arrived = threading.Condition()

    def Export(self, request, _context):
        with self.arrived:
            for resource in request.resource_spans:
                self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
                self.spans += [s for scope in resource.scope_spans for s in scope.spans]
            self.arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name, seconds=20):
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(s.name == name for s in self.spans), seconds), name
            return [s for s in self.spans if s.name == name]


@pytest.fixture
def collector():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    made = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made
    server.stop(None)


def test_traces(make_daemon, connect, collector):
    daemon = make_daemon(f'otlp = "http://127.0.0.1:{collector.port}"')
    api = connect(f"unix:{daemon.socket}", daemon)
    api.create("s", "echo ready >/dev/quark; echo on")
    parent = (("traceparent", f"00-{TRACE}-{SPAN}-01"),)
    done = api.run(clone="s", metadata=parent)
    with api.failure("NOT_FOUND"):
        api.run(clone="none")
    call = api.sandboxes.RunSandbox.future(api.request("while :; do :; done", wait=True), timeout=0.3)
    with api.failure("DEADLINE_EXCEEDED"):
        call.result()
    api.attach(api.start("while :; do :; done")).leave()
    daemon.process.terminate()  # which sends what is left
    assert daemon.process.wait(20) == 0
    daemon.start()
    assert collector.services == {"snapshotd"}
    (run,) = [s for s in collector.named("RunSandbox") if s.trace_id.hex() == TRACE]
    assert (run.parent_span_id.hex(), attributes(run)["rpc.grpc.status"]) == (SPAN, "OK")
    (restore,) = [s for s in collector.named("restore") if s.trace_id.hex() == TRACE]
    assert restore.parent_span_id == run.span_id
    assert attributes(restore) == {"snapshot": "s", "sandbox": done.sandbox.id}
    steps = [s for s in collector.spans if s.parent_span_id == restore.span_id]
    assert [(s.name, (s.end_time_unix_nano - s.start_time_unix_nano) // 1000) for s in steps] == [
        (s.name, s.microseconds) for s in done.sandbox.timeline
    ]
    (other,) = collector.named("CreateSnapshot")
    assert other.parent_span_id == b""
    assert {attributes(s)["rpc.grpc.status"] for s in collector.named("RunSandbox")} == {"OK", "NOT_FOUND", "CANCELLED"}
    assert "Traceback" not in daemon.log.read_text()


def attributes(span):
    return {a.key: a.value.string_value for a in span.attributes}


def test_a_collector_that_is_not_there(make_daemon, connect, port):
    daemon = make_daemon(f'otlp = "http://127.0.0.1:{port}"')
    api = connect(f"unix:{daemon.socket}", daemon)
    assert api.run("echo on").stdout == b"on\n"
    started = time.monotonic()
    daemon.process.terminate()
    assert daemon.process.wait(20) == 0
    assert time.monotonic() - started < 8
    daemon.start()
