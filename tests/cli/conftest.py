"""A runner, and runs to look at that no model had to make."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from gnomon.cli import app
from gnomon.runs import Column, Reading, Run
from gnomon.stats import Interval


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside, a folder of one's own to work in, and the libraries as loud as they were."""
    for name in [name for name in os.environ if name.startswith("GNOMON_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("gnomon.cli.be_quiet", lambda: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def invoke() -> Callable[..., Any]:
    """Run `gnomon ARGUMENTS`; an error that is no ending of a command is raised."""

    def run(*arguments: object, **options: Any) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def refused(invoke: Callable[..., Any]) -> Callable[..., str]:
    """Run `gnomon ARGUMENTS`, check that it ends with this code and one sentence on stderr; that comes back."""

    def run(exit_code: int, *arguments: object, **options: Any) -> str:
        result = invoke(*arguments, **options)
        assert result.exit_code == exit_code, result.output
        sentences = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(sentences) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == sentences[0]
        assert "Traceback" not in result.output
        return str(sentences[0])

    return run


@pytest.fixture
def reading() -> Reading:
    """A reading with a table in which one cell was not measured."""
    return Reading(
        name="steering_f1",
        title="Steering F1",
        headline=Interval(81.25, 76.0, 85.5, n=120, unit="dilemmas"),
        sentence="The probe turns 81 of 100 dilemmas that can be turned.",
        table=pd.DataFrame({"method": ["probe", "random"], "f1": [81.25, float("nan")], "note": ["", None]}),
        columns=(Column("method"), Column("f1", label="Steering F1", unit="%", decimals=1)),
        not_measured=("Refusals: no opening fits the vocabulary.",),
    )


@pytest.fixture
def make_run(reading: Reading) -> Callable[..., Run]:
    """A finished run `name` below runs/, with one reading, a report and a dial's folder."""

    def make(name: str = "first", **config: Any) -> Run:
        settings = {"model": "touchstone:honesty", "toward": "honest", "away": "dishonest", **config}
        with Run.create(settings, "runs", name) as run:
            run.add(reading)
        (run.folder / "report.html").write_text("<p>page</p>")
        (run.folder / "dial").mkdir()
        (run.folder / "dial" / "dial.json").write_text("{}")
        return run

    return make
