"""Which folders are runs, and which one a name means. Reads names only."""

from __future__ import annotations

from pathlib import Path

from gnomon.errors import UsageError

CONFIG = "config.json"


def folders(root: str | Path) -> list[Path]:
    """The run folders directly below `root`, by name; an absent root holds none."""
    return sorted(path.parent for path in Path(root).glob(f"*/{CONFIG}"))


def find(path: str | Path, root: str | Path) -> Path:
    """The run folder that a path, a name below `root`, or the unique beginning of a name means.

    Raises:
        UsageError: there is no such run, or several begin so.
    """
    folder = Path(path)
    if (folder / CONFIG).is_file():
        return folder
    if folder.is_dir():
        raise UsageError(f"{folder} is no run folder (it has no {CONFIG}): give a folder that gnomon made.")
    start = str(path)
    found = [one for one in folders(root) if start and one.name.startswith(start)]
    exact = [one for one in found if one.name == start]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        names = ", ".join(one.name for one in found)
        raise UsageError(f"{len(found)} runs begin with {start!r} ({names}): write more of the name.")
    raise UsageError(f"There is no run {start!r}: give a run folder, or the beginning of a name in {root}.")
