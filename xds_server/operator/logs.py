"""Logging to standard error, one line an event, as key=value or as JSON.

Events are data first: `log_event` writes their kind and fields as keys, so that `grep event=region.down` and a log
store see the same. Lines of libraries come through the same two formats, at `warning` and above: their chatter at
`info` is not about the system this process runs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TextIO

from xds_server.model import Event
from xds_server.screens.printable import dumped

LOGGER = "xds_server"

Style = Literal["text", "json"]

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "alarm": logging.ERROR}
_PLAIN = re.compile(r"[^\s\"=\\]+")


def set_up(level: str, style: Style, stream: TextIO) -> logging.Logger:
    """Send all logging of the process to `stream`; return the logger of ours. A second call replaces the first."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if style == "json" else KeyValue())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger = logging.getLogger(LOGGER)
    logger.setLevel(level.upper())
    return logger


def log_event(logger: logging.Logger, event: Event) -> None:
    """Write one event; an alarm is logged as an error."""
    logger.log(_LEVELS[event.severity], event.message, extra={"event": event.kind, "fields": event.fields})


class KeyValue(logging.Formatter):
    """`time=… level=… event=… message="…" key=value …`: readable as it is, and every field can be searched for."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return " ".join(f"{key}={_value(value)}" for key, value in _pairs(self, record))


class JsonLines(logging.Formatter):
    """The same pairs as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return dumped(dict(_pairs(self, record)))


def _pairs(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
    when = datetime.fromtimestamp(record.created, UTC)
    yield "time", when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    yield "level", record.levelname.lower()
    kind: str | None = getattr(record, "event", None)
    if kind is not None:
        yield "event", kind
    elif record.name != LOGGER:
        yield "logger", record.name
    yield "message", record.getMessage()
    fields: tuple[tuple[str, str], ...] = getattr(record, "fields", ())
    yield from fields
    if record.exc_info:
        yield "exception", formatter.formatException(record.exc_info)


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.isprintable() else dumped(text)
