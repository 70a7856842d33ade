"""The run folder: config, diary, finished cells, readings. A killed run resumes where it stopped.

Knows files and configs; what the cells hold and what the readings mean is the business of the rooms above.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gnomon.errors import Failure, UsageError
from gnomon.runs import cells, events, storage
from gnomon.runs import config as configs
from gnomon.runs.finding import CONFIG, find, folders
from gnomon.runs.lock import is_held, take
from gnomon.runs.reading import Reading

if TYPE_CHECKING:
    import pandas as pd
    from filelock import FileLock

_LIFE = ("started", "resumed", "finished", "failed")


class Run:
    """A folder that holds everything one command did.

    `Run.create` and `Run.resume_or_create` open it for writing; `Run.open` reads, and writing through it
    resumes the run. One process writes, others may read. As a `with` block it ends as finished, or as failed:

        with Run.resume_or_create(config, "runs/first") as run:
            scores = run.once("shift/seed=0", lambda: measure(seed=0))
            run.add(reading)
    """

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.folder = folder
        self.name = folder.resolve().name
        self.config: dict[str, Any] = document["config"]
        self.versions: dict[str, str] = document["versions"]
        self.platform: str = document["platform"]
        self.created: str = document["created"]
        self._diary = folder / "events.jsonl"
        self._cells = folder / "cells"
        self._lock: FileLock | None = None

    # Opening

    @classmethod
    def create(cls, config: Mapping[str, Any], root: str | Path = "runs", name: str | None = None) -> Run:
        """A new run folder below `root`, opened for writing; unnamed it is called by time and a short hash.

        Raises:
            UsageError: the name is taken or is no folder name, or the config has no JSON form.
            Failure: the folder cannot be written.
        """
        if name is not None and not re.fullmatch(r"\w[\w .+-]*", name):
            raise UsageError(
                f"{name!r} cannot name a run: use letters, digits, spaces, '-', '_', '+' and '.'."
            )
        stored = configs.resolved(config)
        folder = Path(root) / (name or f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")
        with storage.disk(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:
                raise UsageError(
                    f"{folder} exists already: choose another name, or resume it with its own config."
                ) from None
        return cls._begin(folder, stored)

    @classmethod
    def open(cls, path: str | Path, root: str | Path = "runs") -> Run:
        """An existing run, by its folder, or by its name or the unique beginning of its name below `root`.

        Raises:
            UsageError: there is no such run, or several begin so.
            Failure: its config.json is damaged.
        """
        return cls._read(find(path, root))

    @classmethod
    def resume_or_create(cls, config: Mapping[str, Any], folder: str | Path) -> Run:
        """The run in `folder`, opened for writing: resumed if it has this config, created if there is none.

        Raises:
            UsageError: the folder was made with another config (the differing keys are named), is being
                written by another process, or holds something that is no run.
            Failure: the folder cannot be written.
        """
        folder = Path(folder)
        stored = configs.resolved(config)
        if not (folder / CONFIG).exists():
            with storage.disk(folder):
                folder.mkdir(parents=True, exist_ok=True)
                if any(not path.name.startswith(".") for path in folder.iterdir()):
                    raise UsageError(f"{folder} holds files but no run: choose a new or an empty folder.")
            return cls._begin(folder, stored)
        run = cls._read(folder)
        if configs.fingerprint(run.config) != configs.fingerprint(stored):
            changed = "; ".join(configs.differences(run.config, stored))
            raise UsageError(
                f"{folder} was made with another config ({changed}): choose another folder or the old values."
            )
        run._claim("resumed")
        return run

    @classmethod
    def _begin(cls, folder: Path, stored: dict[str, Any]) -> Run:
        document = configs.document(stored)
        run = cls(folder, document)

        def write_config() -> None:
            if (folder / CONFIG).exists():
                raise UsageError(f"{folder} was begun by another process just now: run again to resume it.")
            storage.write(folder / CONFIG, storage.to_json(document, indent=1))

        run._claim("started", write_config)
        return run

    @classmethod
    def _read(cls, folder: Path) -> Run:
        path = folder / CONFIG
        document = storage.from_json(storage.read(path), path)
        if not isinstance(document, dict) or not {"config", "versions", "platform", "created"} <= set(
            document
        ):
            raise Failure(
                f"{path} is no config of a run: restore it from a copy, or start the run in a new folder."
            )
        return cls(folder, document)

    # Writing

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to the diary (events.jsonl); it is on the disk when this returns."""
        self._claim("resumed")
        events.append(self._diary, kind, fields)

    def save_cell(self, key: str, content: pd.DataFrame | Mapping[str, Any]) -> Path:
        """Keep a finished unit of work under `key`, whole or not at all: a table as parquet, a dict as JSON.

        Raises:
            UsageError: the content has no parquet or JSON form.
            Failure: the disk is full or refuses; the cells before stay.
        """
        self._claim("resumed")
        return cells.save(self._cells, key, content)

    def once(self, key: str, work: Callable[[], pd.DataFrame | Mapping[str, Any]]) -> Any:
        """The cell `key`: loaded if it is finished, else computed by `work`, saved, and loaded.

        A first and a resumed run so see the same content, types included.
        """
        if not self.has(key):
            self.save_cell(key, work())
        return self.load_cell(key)

    def add(self, reading: Reading) -> Path:
        """Save a reading in the run, after those that are there, or in place of one with the same name."""
        self._claim("resumed")
        there = self._reading_folders
        same = [folder for folder in there if folder.name[3:] == reading.name]
        number = int(same[0].name[:2]) if same else len(there) + 1
        return reading.save(self.folder / "readings" / f"{number:02d}-{reading.name}")

    def finish(self) -> None:
        """Mark the run as finished and let go of it."""
        self.event("finished")
        self.close()

    def close(self) -> None:
        """Let go of the folder, so that another process may write to it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is None:
            return
        if error is None:
            self.finish()
            return
        # The diary may be what failed (a full disk); the first error is the one to tell.
        with contextlib.suppress(Failure):
            self.event("failed", error=f"{type(error).__name__}: {error}")
        self.close()

    # Reading

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the config without cosmetic keys."""
        return configs.fingerprint(self.config)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The diary, oldest first."""
        return events.read(self._diary)

    @property
    def status(self) -> str:
        """ "running", "finished", "failed" (with an error), or "killed" (it ended without saying so)."""
        last = self._last_life()
        if last["kind"] in ("finished", "failed"):
            return str(last["kind"])
        return "running" if self._lock is not None or is_held(self.folder) else "killed"

    @property
    def readings(self) -> list[Reading]:
        """The readings of the run, in the order in which they were added."""
        return [Reading.load(folder) for folder in self._reading_folders]

    def cell(self, key: str) -> Path | None:
        """The file of a finished cell; None if the cell is not finished or its file is damaged."""
        return cells.find(self._cells, key)

    def has(self, key: str) -> bool:
        """Whether the cell is finished; a damaged one is not, and the diary says so ("cell_damaged")."""
        if self.cell(key) is not None:
            return True
        record_path = cells.record_of(self._cells, key)
        if record_path.exists():
            self.event("cell_damaged", key=key)
            with storage.disk(record_path):
                record_path.unlink()
        return False

    def load_cell(self, key: str) -> Any:
        """The DataFrame or dict of a finished cell.

        Raises:
            UsageError: the cell is not finished.
        """
        path = self.cell(key)
        if path is None:
            raise UsageError(
                f"The run {self.name} has no finished cell {key!r}: compute it and save it first."
            )
        return cells.load(path)

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.status}, {len(self._reading_folders)} readings>"

    @property
    def _reading_folders(self) -> list[Path]:
        return sorted(path for path in (self.folder / "readings").glob("[0-9][0-9]-*") if path.is_dir())

    def _last_life(self) -> dict[str, Any]:
        life = [event for event in self.events if event["kind"] in _LIFE]
        return life[-1] if life else {"kind": "started"}

    def _claim(self, kind: str, first: Callable[[], None] | None = None) -> None:
        """Become the one writer: take the lock, clear what a killed process left, do `first`, note it."""
        if self._lock is not None:
            return
        lock = take(self.folder)
        if lock is None:
            holder = self._last_life()
            raise UsageError(
                f"{self.folder} is being written by process {holder.get('pid', 'unknown')} on "
                f"{holder.get('host', 'this machine')}: wait for it, end it, or choose another folder."
            )
        try:
            storage.remove_temporary(self.folder)
            events.cut_torn_line(self._diary)
            if first is not None:
                first()
            fields: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
            now = configs.versions()
            if now != self.versions:
                fields["versions"] = now
            events.append(self._diary, kind, fields)
        except BaseException:
            lock.release()
            raise
        self._lock = lock


def list_runs(root: str | Path = "runs") -> list[Run]:
    """All runs below `root`, oldest first; an absent root holds none. A damaged config.json is a `Failure`."""
    return sorted((Run.open(folder) for folder in folders(root)), key=lambda run: run.created)
