"""`gnomon runs`, `show`, `report` and `compare`: reading what was run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gnomon.bench
from gnomon.runs import Reading, Run

HEADLINE = "81.2 [76.0, 85.5] (95 % interval, n = 120 dilemmas)"


def test_runs_are_listed(invoke: Callable[..., Any], make_run: Callable[..., Run], reading: Reading) -> None:
    make_run("first")
    make_run("second", toward="brave", away="timid", models=["a/b", "c/d"])
    lines = [line for line in invoke("runs").stdout.splitlines() if line.strip()]
    assert [line.split()[:2] for line in lines[2:]] == [["first", "finished"], ["second", "finished"]]
    assert "touchstone:honesty   honest / dishonest" in lines[2]
    assert HEADLINE in lines[2]
    assert "a/b, c/d             brave / timid " in lines[3]


def test_without_runs_the_way_to_one_is_told(invoke: Callable[..., Any]) -> None:
    assert invoke("runs", "--root", "elsewhere").stdout == (
        "There are no runs in elsewhere; gnomon steer makes one.\n"
    )


def test_show_a_run(invoke: Callable[..., Any], make_run: Callable[..., Run], reading: Reading) -> None:
    make_run("20260131-first")
    shown = invoke("show", "20260131").stdout
    assert shown.startswith("runs/20260131-first: finished, begun ")
    for words in (
        "touchstone:honesty: honest / dishonest",
        HEADLINE,
        reading.sentence,
        "report: runs/20260131-first/report.html",
        "dial: runs/20260131-first/dial",
    ):
        assert words in shown


def test_show_says_why_a_run_failed(invoke: Callable[..., Any]) -> None:
    with pytest.raises(ZeroDivisionError), Run.create({"model": "a/b"}, "runs", "broken"):
        raise ZeroDivisionError("nothing to divide by")
    assert "ZeroDivisionError: nothing to divide by\n" in invoke("show", "broken").stdout


def test_show_a_dial(invoke: Callable[..., Any]) -> None:
    import torch

    from gnomon.dials import AddVector, Dial, Prefix

    Dial(
        (AddVector(3, torch.ones(4)),),
        name="mean",
        words=("kind", "cruel"),
        base_model="a/b",
        notes={"block": 3},
    ).save("vector")
    assert invoke("show", "vector").stdout == (
        "vector: the dial mean\n  words: kind / cruel\n  model: a/b\n  edits: AddVector (block 3)\n"
        "  scale: native, 1 x native\n  block: 3\n"
    )
    Dial((Prefix("be kind", "be cruel"),), scale=None).save("prompt")
    shown = invoke("show", "prompt").stdout
    assert "words: not recorded" in shown
    assert "edits: Prefix (toward be kind, away be cruel)" in shown
    assert "scale: not recorded" in shown


def test_a_report_is_made_again(
    invoke: Callable[..., Any], make_run: Callable[..., Run], reading: Reading
) -> None:
    run = make_run()
    shown = invoke("report", "first").stdout
    assert shown == "runs/first/report.html\n"
    assert reading.sentence in (run.folder / "report.html").read_text()


def test_open_opens_the_page(
    invoke: Callable[..., Any], make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run = make_run()
    invoke("report", "first")
    assert opened == []
    invoke("report", "first", "--open")
    assert opened == [(run.folder / "report.html").resolve().as_uri()]


def test_compare(
    invoke: Callable[..., Any],
    make_run: Callable[..., Run],
    reading: Reading,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_run("first")
    make_run("second")
    given: list[str] = []

    def compared(first: Run, second: Run) -> Reading:
        given.extend([first.name, second.name])
        return reading

    monkeypatch.setitem(vars(gnomon.bench), "compare", compared)
    assert reading.sentence in invoke("compare", "first", "sec").stdout
    assert given == ["first", "second"]
    assert json.loads(invoke("compare", "first", "sec", "--json").stdout)["sentence"] == reading.sentence


@pytest.mark.parametrize("command", ["show", "report"])
def test_a_run_that_is_not_there(command: str, refused: Callable[..., str]) -> None:
    assert "There is no run 'first'" in refused(2, command, "first")


def test_damaged_files_are_named(
    invoke: Callable[..., Any], make_run: Callable[..., Run], refused: Callable[..., str]
) -> None:
    run = make_run()
    (run.folder / "readings/01-steering_f1/reading.json").write_text("{")
    assert "reading.json is damaged" in refused(1, "show", "first")
    Path("dial").mkdir()
    Path("dial/dial.json").write_text('{"name": "half"}')
    assert "dial/dial.json describes no dial" in refused(1, "show", "dial")
