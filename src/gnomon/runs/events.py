"""The diary of a run: one JSON object per line, synced, readable after any crash. Knows no instrument."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gnomon.runs import storage


def append(path: Path, kind: str, fields: dict[str, Any]) -> None:
    """Append one event with the time now; it is on the disk when this returns.

    Raises:
        UsageError: a field has no JSON form.
        Failure: the disk is full or refuses; the diary stays as it was.
    """
    event = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **fields}
    storage.append(path, storage.to_json(event))


def read(path: Path) -> list[dict[str, Any]]:
    """All events in order. A last line without its end is what a killed process left and is skipped.

    A damaged line elsewhere comes back as an event of kind "damaged" with its line number.
    """
    if not path.exists():
        return []
    lines = storage.read(path).split(b"\n")[:-1]
    return [_event(line, index) for index, line in enumerate(lines, start=1)]


def cut_torn_line(path: Path) -> None:
    """Remove a last line that has no end, so that the next event starts its own; call it under the lock."""
    if not path.exists():
        return
    content = storage.read(path)
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with storage.disk(path):
            os.truncate(path, whole)


def _event(line: bytes, number: int) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "kind" in event else {"kind": "damaged", "line": number}
