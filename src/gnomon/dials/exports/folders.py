"""A folder that is there as a whole or not at all. Knows nothing of what is written into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gnomon.runs.storage import disk


@contextmanager
def whole(folder: str | Path) -> Iterator[Path]:
    """A place to write in, beside `folder`; it becomes `folder` when the block ends, and is removed when it fails.

    A process that is killed leaves `folder.partial-...` behind, and no `folder`.

    Raises:
        Failure: the disk is full, or the folder cannot be written.
    """
    target = Path(folder).absolute()
    with disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{target.name}.partial-", dir=target.parent) as scratch:
            place = Path(scratch) / target.name
            place.mkdir()
            yield place
            if target.exists():
                target.rmdir()
            place.rename(target)
