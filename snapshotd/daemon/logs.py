"""Structured logs on standard error: `text` for people and the journal, `json` for collectors."""

from __future__ import annotations

import json
import logging
import re
import sys
import time

# Attributes that every record has; the others are what the caller added.
_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

WORD = re.compile(r"[\w./:@+-]+", re.ASCII)


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What was added with `extra`."""
    return {k: v for k, v in vars(record).items() if k not in _PLAIN}


class Text(logging.Formatter):
    """`LEVEL message key=value ...`; the journal adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        """One line (more with a traceback)."""
        parts = [record.levelname.lower(), record.getMessage()]
        # Whatever comes from a caller stays one word on one line.
        parts += [
            f"{k}={json.dumps(v) if isinstance(v, str) and not WORD.fullmatch(v) else v}"
            for k, v in fields(record).items()
        ]
        text = " ".join(parts)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class Json(logging.Formatter):
    """One JSON document a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in RFC 3339, level, message, and the fields."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        data = {"time": stamp, "level": record.levelname.lower(), "message": record.getMessage(), **fields(record)}
        if record.exc_info:
            data["traceback"] = self.formatException(record.exc_info)
        return json.dumps(data, default=str)


def configure(kind: str, level: str) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if kind == "json" else Text())
    logger = logging.getLogger("snapshotd")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
