"""A client that knows only grpc.health.v1 and reflection."""

import signal
import threading

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PACKAGE = "quark.snapshot.v1"
METHODS = {
    "SnapshotService": {
        "CreateSnapshot", "GetSnapshot", "ListSnapshots", "DeleteSnapshot", "FlattenSnapshot", "ExportSnapshot", "ImportSnapshot",
        "WarmSnapshot", "CoolSnapshot", "CollectGarbage", "CheckStore", "CheckSnapshot",
    },
    "SandboxService": {
        "RunSandbox", "GetSandbox", "ListSandboxes", "WaitSandbox", "KillSandbox", "PauseSandbox", "ResumeSandbox", "AttachSandbox",
        "CaptureSandbox",
    },
    "StatisticsService": {"GetStatistics"},
}  # fmt: skip
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Explorer:
    """Calls methods by their names, with what reflection tells of them."""

    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def call(self, service, method, request):
        """The answers as dictionaries."""
        found = self.pool.FindServiceByName(f"{PACKAGE}.{service}").FindMethodByName(method)
        make = message_factory.GetMessageClass
        kind = self.channel.unary_stream if found.server_streaming else self.channel.unary_unary
        stub = kind(
            f"/{PACKAGE}.{service}/{method}",
            request_serializer=make(found.input_type).SerializeToString,
            response_deserializer=make(found.output_type).FromString,
        )
        answer = stub(json_format.ParseDict(request, make(found.input_type)()), timeout=30)
        messages = list(answer) if found.server_streaming else [answer]
        return [json_format.MessageToDict(m, preserving_proto_field_name=True) for m in messages]


@pytest.fixture
def explorer(api):
    return Explorer(api.channel)


def test_what_there_is(explorer):
    services = set(explorer.database.get_services())
    assert services == {
        *(f"{PACKAGE}.{name}" for name in METHODS),
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for name, methods in METHODS.items():
        service = explorer.pool.FindServiceByName(f"{PACKAGE}.{name}")
        assert {m.name for m in service.methods} == methods
    attach = explorer.pool.FindServiceByName(f"{PACKAGE}.SandboxService").FindMethodByName("AttachSandbox")
    assert (attach.client_streaming, attach.server_streaming) == (True, True)
    with pytest.raises(KeyError):
        explorer.pool.FindServiceByName(f"{PACKAGE}.NoService")


def test_a_snapshot_by_reflection(explorer):
    argv = ["/bin/sh", "-c", "echo ready >/dev/quark; read x; echo $x"]
    messages = explorer.call("SnapshotService", "CreateSnapshot", {"name": "s", "spec": {"argv": argv}})
    assert messages[-1]["snapshot"]["name"] == "s"
    run = {"clone": {"snapshot": "s"}, "wait": True, "stdin": "aGVsbG8K"}
    (answer,) = explorer.call("SandboxService", "RunSandbox", run)
    assert answer["stdout"] == "aGVsbG8K"
    assert answer["sandbox"]["state"] == "EXITED"
    assert answer["sandbox"]["end_time"].endswith("Z")
    (answer,) = explorer.call("StatisticsService", "GetStatistics", {})
    assert answer["snapshots"] == 1
    with pytest.raises(json_format.ParseError):
        explorer.call("SnapshotService", "GetSnapshot", {"no_such_field": 1})
    with pytest.raises(grpc.RpcError) as e:
        explorer.call("SnapshotService", "GetSnapshot", {"name": "none"})
    assert e.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_reflection_does_not_know(api):
    stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=30)
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_methods_that_do_not_exist(api):
    for path in (f"/{PACKAGE}.SnapshotService/NoMethod", f"/{PACKAGE}.NoService/GetSnapshot", "/x"):
        with api.failure("UNIMPLEMENTED"):
            api.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)(b"", timeout=30)
    # Bytes that are no message of the method.
    call = api.channel.unary_unary(
        f"/{PACKAGE}.SnapshotService/GetSnapshot", request_serializer=bytes, response_deserializer=bytes
    )
    with api.failure():
        call(b"\xff\xff\xff", timeout=30)
    assert api.names() == []


def test_health(api):
    health = health_pb2_grpc.HealthStub(api.channel)
    names = ["", *(f"{PACKAGE}.{name}" for name in METHODS)]
    for name in names:
        assert health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status == SERVING
    with api.failure("NOT_FOUND"):
        health.Check(health_pb2.HealthCheckRequest(service="none"), timeout=30)
    # Whoever watches hears that the daemon is going, before it has gone: it waits for its sandboxes.
    seen = {}

    def watch(name, call):
        seen[name] = []
        try:
            for answer in call:
                seen[name].append(answer.status)
                started.release()
        except grpc.RpcError:
            pass

    started = threading.Semaphore(0)
    calls = [health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60) for name in names]
    threads = [threading.Thread(target=watch, args=pair) for pair in zip(names, calls, strict=True)]
    for thread in threads:
        thread.start()
    for _ in names:
        assert started.acquire(timeout=30)
    api.daemon.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(30)
    assert seen == {name: [SERVING, NOT_SERVING] for name in names}
    assert api.daemon.process.wait(30) == 0
