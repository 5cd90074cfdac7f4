"""docs/daemon.md names the configuration's keys and the metrics that there are."""

import inspect
import json
import re
from pathlib import Path

from google.protobuf import json_format, message_factory

from quark.snapshot.v1 import sandboxes_pb2, snapshots_pb2
from snapshotd.daemon import metrics
from snapshotd.daemon.config import Config, Domain, Tcp

PAGE = (Path(__file__).parents[2] / "docs" / "daemon.md").read_text()


def cells(section: str) -> set[str]:
    """Names in the first column of the tables of a section."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_key_of_the_configuration():
    tables = {"tcp", "domains"}
    keys = (set(Config.model_fields) - tables) | set(Tcp.model_fields) | set(Domain.model_fields)
    assert cells("Configuration") == keys
    assert all(f"[{t}]" in PAGE for t in tables)


def test_every_default():
    """A number or a word is the code's; `none` is whatever means that there is none."""
    section = PAGE.split("\n## Configuration\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)
    words = {"root", "socket", "paths"}  # their defaults are sentences
    assert {key for key, _ in rows} - words >= set(Config.model_fields) - words - {"tcp", "domains"}
    fields = Config.model_fields | Domain.model_fields
    for key, said in rows:
        default = fields[key].default
        if key not in words:
            value = json.dumps(default) if isinstance(default, bool) else str(default)  # as TOML writes it
            assert said == ("none" if default in ("", None, []) else value), key


def test_every_metric():
    names = re.findall(r'"(quark_\w+)"', inspect.getsource(metrics))
    assert cells("Metrics") == {name.removesuffix("_total") for name in names}


def test_every_kind_of_metric():
    found = {f.name: f.type for f in metrics.Metrics().registry.collect()}
    rows = dict(re.findall(r"^\| `(quark_\w+)` \| (\w+)[^|]* \|", PAGE, re.MULTILINE))
    assert found == {name: kind for name, kind in rows.items() if kind != "gauge"}


def test_the_calls_of_the_example():
    """They are methods and fields that there are."""
    calls = re.findall(r"grpcurl .* -d '(.*)' \$S quark\.snapshot\.v1\.(\w+)/(\w+)", PAGE)
    assert len(calls) == 2
    for request, service, method in calls:
        module = {"SnapshotService": snapshots_pb2, "SandboxService": sandboxes_pb2}[service]
        kind = module.DESCRIPTOR.services_by_name[service].methods_by_name[method].input_type
        json_format.Parse(request, message_factory.GetMessageClass(kind)())
