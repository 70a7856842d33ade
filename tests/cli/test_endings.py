"""Errors with a sentence become that sentence and an exit code; bugs keep their traceback."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gnomon.cli.endings import STOPPED, Commands
from gnomon.errors import Failure, UsageError


def ended(error: BaseException) -> Any:
    """What a command ends with that raises this."""
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None:
        """A second one, so that the first has a name."""

    return CliRunner().invoke(app, ["fail"])


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (UsageError("the away word is empty; give a word"), 2, "error: the away word is empty; give a word"),
        (Failure("The loss is\nnot a number."), 1, "error: The loss is not a number."),
        (KeyboardInterrupt(), 130, STOPPED),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x"),
            1,
            "error: the disk is full at /data/x; free some space and run the same command again, "
            "what was finished is kept",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data"),
            1,
            "error: /data may not be used (Permission denied); choose another folder, or change its permissions",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/data"),
            1,
            "error: /data may not be used (Read-only file system); "
            "choose another folder, or change its permissions",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "words.txt"),
            1,
            "error: there is no file or folder words.txt; check the path",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_sentence(error: BaseException, exit_code: int, message: str) -> None:
    result = ended(error)
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, f"{message}\n", "")


@pytest.mark.parametrize("bug", [KeyError("x"), OSError("no number"), OSError(errno.EBADF, "bad")])
def test_a_bug_is_not_hidden(bug: Exception) -> None:
    assert ended(bug).exception is bug


def test_a_bug_keeps_its_plain_traceback() -> None:
    program = (
        "import gnomon.runs, gnomon.cli\n"
        "def broken(root):\n    secret = 'value of a variable'\n    raise ZeroDivisionError\n"
        "gnomon.runs.list_runs = broken\n"
        "gnomon.cli.main()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, "runs"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in shown.stderr
    assert "value of a variable" not in shown.stderr.replace("secret = 'value of a variable'", "")


def test_unknown_commands_and_options_are_usage_errors(invoke: Callable[..., Any]) -> None:
    for arguments in (["stear"], ["runs", "--nonsense"], ["steer", "--kl", "much"]):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
