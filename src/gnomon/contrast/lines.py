"""Lists of lines: the packaged persona templates and suffixes, and text files with one line each.

The packaged suffixes are facts, questions, requests, bare situations, abilities, preferences, arithmetic, begun answers,
stories, small talk and code, most of them broken off; none speaks of a value, asks what should be done, or answers that.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from gnomon.errors import UsageError


def packaged(name: str) -> tuple[str, ...]:
    """The lines of a packaged list: `templates` or `suffixes`."""
    return _lines(resources.files("gnomon.contrast").joinpath(f"{name}.txt").read_text(encoding="utf-8"))


def read_lines(path: str | Path) -> tuple[str, ...]:
    """The lines of a UTF-8 text file, stripped, without empty ones; for `--templates` and `--suffixes`.

    Raises `UsageError` where the file cannot be read or has no line.
    """
    lines = _lines(read_text(path))
    if not lines:
        raise UsageError(f"{path} has no lines; write one template or suffix per line")
    return lines


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file; raises `UsageError` where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}); give the path of a text file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text; save it as UTF-8") from error


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.split("\n") if line.strip())
