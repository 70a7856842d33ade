"""Finished units of work in a folder: a payload and, written after it, a record with its key and checksum.

A cell counts as finished only when both are there and agree. Knows nothing of what the cells hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.errors import Failure
from gnomon.runs import storage

if TYPE_CHECKING:
    import pandas as pd


def save(folder: Path, key: str, content: pd.DataFrame | Mapping[str, Any]) -> Path:
    """Write a table as parquet, or a dict as JSON, and then its record; the payload's path comes back.

    Raises:
        UsageError: the content has no parquet or JSON form.
        Failure: the disk is full or refuses.
    """
    if isinstance(content, Mapping):
        path, payload = _path(folder, key, "json"), storage.to_json(content)
    else:
        path, payload = _path(folder, key, "parquet"), storage.table_to_bytes(content)
    storage.write(path, payload)
    record = {"key": key, "file": path.name, "sha256": storage.checksum(payload)}
    storage.write(record_of(folder, key), storage.to_json(record))
    return path


def find(folder: Path, key: str) -> Path | None:
    """The payload of a finished cell; None if there is none, or if it and its record do not agree."""
    record_path = record_of(folder, key)
    if not record_path.exists():
        return None
    try:
        record = json.loads(storage.read(record_path))
        path = folder / record["file"]
        whole = record["key"] == key and storage.checksum(storage.read(path)) == record["sha256"]
    except (ValueError, KeyError, TypeError, Failure):
        return None  # a damaged record, or a payload that is gone
    return path if whole else None


def load(path: Path) -> Any:
    """The DataFrame or dict in a payload."""
    content = storage.read(path)
    if path.suffix == ".json":
        return storage.from_json(content, path)
    return storage.table_from_bytes(content, path)


def record_of(folder: Path, key: str) -> Path:
    """Where the record of a key lies, whether or not it exists."""
    return _path(folder, key, "record")


def _path(folder: Path, key: str, suffix: str) -> Path:
    readable = re.sub(r"[^\w=+.-]+", "_", key, flags=re.ASCII)[:60]
    return folder / f"{readable}-{storage.checksum(storage.to_json(key))[:8]}.{suffix}"
