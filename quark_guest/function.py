"""Runs in a sandbox: imports a function, offers the capture point, then calls it with the payload of each clone.

Usage: function.py FILE.py|MODULE NAME. The payload is JSON: {"args": [...], "kwargs": {...}}; the answer, on standard output, is JSON too:
{"result": ...} or {"error": "..."}. What the function prints goes to standard error.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn


def load(source: str, name: str) -> Any:
    """The function."""
    if not source.endswith(".py"):
        return getattr(importlib.import_module(source), name)
    sys.path.insert(0, str(Path(source).parent))
    spec = importlib.util.spec_from_file_location(Path(source).stem, source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def main() -> NoReturn:
    """Warm up, wait, answer."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import quark_guest

    answer_fd = os.dup(1)
    os.dup2(2, 1)
    function = load(sys.argv[1], sys.argv[2])
    request = json.loads(quark_guest.ready()["payload"] or '{"args": [], "kwargs": {}}')
    try:
        answer = {"result": function(*request["args"], **request["kwargs"])}
        text = json.dumps(answer)
    except Exception as e:  # noqa: BLE001 - whatever it raises is its answer
        traceback.print_exc()
        text = json.dumps({"error": f"{type(e).__name__}: {e}"})
    data = text.encode()
    while data:
        data = data[os.write(answer_fd, data) :]
    quark_guest.finish()


if __name__ == "__main__":
    main()
