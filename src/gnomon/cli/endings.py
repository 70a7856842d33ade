"""How a command ends badly: one sentence on stderr and an exit code. A bug is no such ending and keeps its traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from gnomon.errors import GnomonError

STOPPED = "stopped; run the same command again to go on where it stopped"
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Commands(TyperGroup):
    """A group of commands whose errors are told in one sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with one_sentence():
            return super().invoke(ctx)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn errors that have a sentence for the user into that sentence and an exit code."""
    try:
        yield
    except GnomonError as error:
        raise _ending(f"error: {error}", error.exit_code) from error
    except KeyboardInterrupt as error:
        raise _ending(STOPPED, 130) from error
    except OSError as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        raise _ending(f"error: {sentence}", 1) from error


def _ending(message: str, exit_code: int) -> typer.Exit:
    typer.echo(" ".join(message.split()), err=True)
    return typer.Exit(exit_code)


def _sentence(error: OSError) -> str | None:
    """What the system refused, in words; None where it is no fault of disk, permissions or path."""
    place = error.filename
    if error.errno in _FULL:
        at = f" at {place}" if place else ""
        return (
            f"the disk is full{at}; free some space and run the same command again, what was finished is kept"
        )
    if error.errno in _REFUSED and place:
        return f"{place} may not be used ({error.strerror}); choose another folder, or change its permissions"
    if error.errno == errno.ENOENT and place:
        return f"there is no file or folder {place}; check the path"
    return None
