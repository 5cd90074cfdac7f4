"""docs/daemon.md names the configuration's keys and the metrics that there are."""

import inspect
import re
from pathlib import Path

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


def test_every_metric():
    names = re.findall(r'"(quark_\w+)"', inspect.getsource(metrics))
    assert cells("Metrics") == {name.removesuffix("_total") for name in names}
