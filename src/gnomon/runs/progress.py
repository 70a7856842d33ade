"""One progress bar per stage, on stderr, silent where nobody watches. Knows nothing of what is being done."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import rich.progress


class Advance(Protocol):
    """Say that `steps` more units are done, and perhaps a few words (a loss) that stand beside the bar."""

    def __call__(self, steps: int = 1, said: str = "", /) -> None:
        """Move the bar."""


class Progress(Protocol):
    """What a long computation is given to show how far it is: `progress` below, or any callable like it."""

    def __call__(self, stage: str, total: int | None = None, /) -> AbstractContextManager[Advance]:
        """Open a bar for one stage of `total` units (None: unknown)."""


_display: rich.progress.Progress | None = None


@contextmanager
def progress(stage: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Advance]:
    """A bar with the rate and the remaining time for one stage; a stage inside a stage gets its own line.

    Silent if `quiet`, if the environment variable GNOMON_QUIET is set, or if nobody watches (stderr is
    neither a terminal nor a notebook).

        with progress("reading residuals", total=len(prompts)) as advance:
            for batch in batches:
                advance(len(batch))
    """
    if quiet or os.environ.get("GNOMON_QUIET") or not _watched():
        yield _silent
        return
    global _display
    outermost = _display is None
    display = _start() if _display is None else _display
    _display = display
    task = display.add_task(stage, total=total, said="")

    def advance(steps: int = 1, said: str = "", /) -> None:
        display.update(task, advance=steps, said=said)

    try:
        yield advance
    finally:
        if outermost:
            _display = None
            display.stop()
        else:
            display.remove_task(task)


def _silent(steps: int = 1, said: str = "", /) -> None:
    """Advance nothing."""


def _watched() -> bool:
    import rich

    return sys.stderr.isatty() or rich.get_console().is_jupyter


def _start() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Display
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.1f}/s", style="progress.data.speed")

    display = Display(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=Console(stderr=True),
    )
    display.start()
    return display
