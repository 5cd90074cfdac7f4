"""grpc.health.v1 and reflection: a client that has nothing but the server's address finds out what it can ask, and asks."""

import threading
import time

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from quark.snapshot.v1 import sandboxes_pb2, snapshots_pb2, statistics_pb2

SERVICES = [f"quark.snapshot.v1.{name}" for name in ("SandboxService", "SnapshotService", "StatisticsService")]
UNARY, STREAM = (False, False), (False, True)


class Generic:
    """A client whose messages are built from the server's reflection."""

    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def method(self, service, name):
        return self.pool.FindServiceByName(service).methods_by_name[name]

    def call(self, service, method, /, **fields):
        """Answers as JSON documents."""
        m = self.method(service, method)
        request, response = map(message_factory.GetMessageClass, (m.input_type, m.output_type))
        kind = (m.client_streaming, m.server_streaming)
        make = {UNARY: self.channel.unary_unary, STREAM: self.channel.unary_stream}[kind]
        stub = make(f"/{service}/{method}", request.SerializeToString, response.FromString)
        answer = stub(json_format.ParseDict(fields, request()), timeout=30)
        answers = answer if kind == STREAM else [answer]
        return [json_format.MessageToDict(m, preserving_proto_field_name=True) for m in answers]


@pytest.fixture
def generic(api):
    return Generic(api.channel)


def test_a_client_that_knows_nothing(generic):
    assert set(generic.database.get_services()) == {
        *SERVICES,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    spec = {"argv": ["/bin/sh", "-c", "echo ready >/dev/quark; echo $0 $1"], "memory_bytes": 64 << 20}
    *progress, last = generic.call(SERVICES[1], "CreateSnapshot", name="s", spec=spec, ready_file=True)
    assert any("frames_total" in m for m in progress)
    assert last["snapshot"]["name"] == "s"
    (page,) = generic.call(SERVICES[1], "ListSnapshots", page_size=10)
    assert [s["id"] for s in page["snapshots"]] == [last["snapshot"]["id"]]
    (done,) = generic.call(SERVICES[0], "RunSandbox", clone={"snapshot": "s"}, wait=True)
    assert done["sandbox"]["state"] == "EXITED"
    (numbers,) = generic.call(SERVICES[2], "GetStatistics")
    assert (numbers["domain"], numbers["snapshots"]) == ("default", 1)
    (health,) = generic.call("grpc.health.v1.Health", "Check", service=SERVICES[0])
    assert health == {"status": "SERVING"}
    with pytest.raises(grpc.RpcError) as e:
        generic.call(SERVICES[1], "GetSnapshot", name="none")
    assert e.value.code() == grpc.StatusCode.NOT_FOUND


def test_what_it_says_is_what_there_is(generic):
    """Every service of the three files, with every method and message, as they were compiled."""
    for module in (sandboxes_pb2, snapshots_pb2, statistics_pb2):
        found = generic.pool.FindFileByName(module.DESCRIPTOR.name)
        assert found.serialized_pb == module.DESCRIPTOR.serialized_pb
        for name in module.DESCRIPTOR.services_by_name:
            assert f"quark.snapshot.v1.{name}" in SERVICES


def test_health(api):
    stub = health_pb2_grpc.HealthStub(api.channel)
    for name in ("", *SERVICES):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
    states = stub.List(health_pb2.HealthListRequest(), timeout=20).statuses
    assert {name: s.status for name, s in states.items()} == dict.fromkeys(
        ("", *SERVICES), health_pb2.HealthCheckResponse.SERVING
    )
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=20)
    assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    unknown.cancel()
    with pytest.raises(grpc.RpcError) as e:
        stub.Check(health_pb2.HealthCheckRequest(service="quark.snapshot.v1.Other"), timeout=20)
    assert e.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_ends_before_the_daemon(api):
    """A load balancer hears of it while calls that have begun are still answered."""
    seen, first = [], threading.Event()
    stub = health_pb2_grpc.HealthStub(api.channel)
    stream = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]), timeout=30)

    def watch():
        try:
            for answer in stream:
                seen.append(answer.status)
                first.set()
        except grpc.RpcError:
            return
        seen.append("end")

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert first.wait(20)
    started = time.monotonic()
    api.daemon.process.terminate()
    assert api.daemon.process.wait(20) == 0
    watcher.join(20)
    api.daemon.start()
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert time.monotonic() - started < 4, "nobody had to wait for a stream that does not end by itself"
    assert seen == [serving, not_serving, "end"]
