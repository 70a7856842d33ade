"""What answers at once imports nothing heavy; checked in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gnomon.runs import Run

HEAVY = ("torch", "transformers", "sklearn", "scipy", "pandas", "pyarrow")


def gnomon(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command line with a last line on stderr that names the heavy modules that are loaded."""
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded:', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        "from gnomon.cli import main\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("steer", "--help"),
        ("questions", "--help"),
        ("show", "first"),
        ("show", "dial"),
        ("runs",),
    ],
    ids=" ".join,
)
def test_imports_nothing_heavy(arguments: tuple[str, ...], make_run: Callable[..., Run]) -> None:
    make_run()
    described = {
        "name": "mine",
        "words": ["honest", "dishonest"],
        "base_model": "touchstone:honesty",
        "edits": [{"kind": "AddVector", "block": 3}],
        "scale": None,
        "notes": {},
    }
    Path("dial").mkdir()
    Path("dial/dial.json").write_text(json.dumps(described))
    ended = gnomon(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert ended.stderr.splitlines()[-1].split() == ["loaded:"]


def test_heavy_imports_would_be_seen(make_run: Callable[..., Run]) -> None:
    make_run()
    assert "pandas" in gnomon("report", "first").stderr.splitlines()[-1]


def test_module_and_command_are_the_same() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "gnomon", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("gnomon ")


def test_no_colours_where_no_terminal_is() -> None:
    assert "\x1b[" not in gnomon("--help").stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes of a POSIX shell")
def test_a_reader_that_goes_away_is_no_error() -> None:
    ended = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m gnomon steer --help | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stderr == ""


@pytest.mark.parametrize("verbose", [False, True])
def test_libraries_are_heard_only_if_asked_for(verbose: bool) -> None:
    program = (
        "import logging, warnings, gnomon.runs, gnomon.cli\n"
        "def loud(root):\n"
        "    warnings.warn('a warning')\n    logging.getLogger('library').warning('a log line')\n    return []\n"
        "gnomon.runs.list_runs = loud\n"
        "gnomon.cli.main()\n"
    )
    arguments = ["--verbose", "runs"] if verbose else ["runs"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert [words in ended.stderr for words in ("a warning", "a log line")] == [verbose, verbose]
    assert ended.stdout.startswith("There are no runs")
