"""Bytes that reach the disk whole or not at all, JSON that comes back as it went in, disk errors in words.

Knows files, not runs: every other module of this room writes through here.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from gnomon.errors import Failure, UsageError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block, which works on `path`, into a `Failure` that says what to do."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in _FULL:
            advice = "free some space and run the same command again, what was finished is kept"
            raise Failure(f"The disk is full at {path} ({reason}): {advice}.") from error
        if error.errno in _REFUSED:
            raise Failure(
                f"{path} cannot be written ({reason}): choose another folder, or change its permissions."
            ) from error
        raise Failure(
            f"{path} cannot be used ({reason}): check the path and the disk, then try again."
        ) from error


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the whole new one.

    Raises:
        Failure: the disk is full, the folder is read-only, or the path cannot be written for another reason.
    """
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append(path: Path, line: bytes) -> None:
    """Append one line and wait for the disk; if the disk refuses, the file is left as it was.

    Raises:
        Failure: as `write`.
    """
    with disk(path), path.open("ab") as file:
        before = file.seek(0, os.SEEK_END)
        try:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            # A half-written line would swallow the next one; shrinking a file works on a full disk too.
            os.ftruncate(file.fileno(), before)
            raise


def read(path: Path) -> bytes:
    """The content of a file.

    Raises:
        Failure: it cannot be read.
    """
    with disk(path):
        return path.read_bytes()


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left half-written below `folder`; call it only under the run's lock."""
    with disk(folder):
        for path in list(folder.rglob(".*.tmp")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def checksum(content: bytes) -> str:
    """SHA-256 of the content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def plain(value: Any, where: str = "value") -> Any:
    """The same value in JSON's types: arrays and tuples become lists, numpy's numbers numbers, paths text.

    NaN and infinity stay what they are and are written as Python's `json` writes them.

    Raises:
        UsageError: something has no JSON form, or a key is not text (it would come back as another key).
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UsageError(f"{where} has the key {key!r}, which is not text: use str keys.")
        return {key: plain(inner, f"{where}[{key!r}]") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), where)
    raise UsageError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold: give text, numbers, lists or dicts."
    )


def without_missing(value: Any) -> Any:
    """A plain value with None in place of NaN and infinity, for readers that accept only strict JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_missing(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_missing(inner) for inner in value]
    return value


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """UTF-8 JSON of a value after `plain`; lone surrogates are escaped, so every str survives."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace")


def from_json(content: bytes, path: Path) -> Any:
    """The value that `to_json` wrote; `path` is named in the error.

    Raises:
        Failure: the content is damaged.
    """
    try:
        return json.loads(content)
    except ValueError as error:
        raise Failure(
            f"{path} is damaged ({error}): restore it from a copy, or start the run in a new folder."
        ) from error


def table_to_bytes(frame: Any) -> bytes:
    """A pandas DataFrame as parquet.

    Raises:
        UsageError: a column name is not text, or a column mixes types that parquet cannot hold.
    """
    import io

    import pyarrow as pa

    buffer = io.BytesIO()
    strangers = [name for name in frame.columns if not isinstance(name, str)]
    if strangers:
        raise UsageError(
            f"The table has the column name {strangers[0]!r}, which is not text: use str column names."
        )
    try:
        frame.to_parquet(buffer)
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"The table cannot be stored as parquet ({reason}): give every column one type."
        ) from error
    return buffer.getvalue()


def table_from_bytes(content: bytes, path: Path) -> Any:
    """The DataFrame that `table_to_bytes` wrote; `path` is named in the error.

    Raises:
        Failure: the content is damaged.
    """
    import io

    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Failure(
            f"{path} is damaged and no table can be read from it: remove it and run again."
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
