"""One writer per folder. The operating system drops the lock of a killed process. Knows files only."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from gnomon.runs import storage

# A moment of patience: who only asks whether a folder is locked holds the lock for an instant.
_PATIENCE = 0.5


def take(folder: Path) -> FileLock | None:
    """The held lock of a folder, to be released by the caller; None if another holder has it.

    Raises:
        Failure: the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=_PATIENCE, thread_local=False)
    with storage.disk(folder):
        try:
            lock.acquire()
        except Timeout:
            return None
    return lock


def is_held(folder: Path) -> bool:
    """Whether someone holds the lock of a folder now."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:
        return False  # a folder that cannot be locked cannot be written either
    lock.release()
    return False
