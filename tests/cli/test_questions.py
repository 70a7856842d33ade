"""`gnomon questions`: a file to start from, and a file checked on a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gnomon.questions import load

ON = ("--model", "touchstone:honesty")


def test_a_template_can_be_loaded(invoke: Callable[..., Any], refused: Callable[..., str]) -> None:
    assert "gnomon questions check mine.csv" in invoke("questions", "template", "mine.csv").stdout
    assert len(load("mine.csv")) > 2
    assert "exists" in refused(2, "questions", "template", "mine.csv")


def test_rows_that_the_model_does_not_answer_are_shown(invoke: Callable[..., Any]) -> None:
    rows = [
        "text,honest,classes",
        "is one plus one two ?,1,yes=yes;no=no",
        "you are honest .,1,yes=yes;no=no",
        "is one plus one two ?,-1,a=the;b=of",
    ]
    Path("mine.csv").write_text("\n".join(rows) + "\n")
    shown = invoke("questions", "check", "mine.csv", *ON, "--prompt", "text", "--label", "honest").stdout
    lines = shown.splitlines()
    table = [line for line in lines if "low answer mass" in line]
    assert "you are honest ." in table[0]
    assert "2 of 3 questions" in lines[-1] or "of 3 questions" in lines[-1]
    assert any(line.startswith("Note: ") for line in lines)


def test_only_the_first_rows_are_shown(invoke: Callable[..., Any]) -> None:
    rows = [f"are you {n} ?,{(-1) ** n},the=the;of=of" for n in range(30)]
    Path("mine.csv").write_text("\n".join(["prompt,label,classes", *rows]) + "\n")
    shown = invoke("questions", "check", "mine.csv", *ON).stdout
    assert shown.count("are you") == 20
    assert "and 10 more\n" in shown


def test_good_questions_make_one_sentence(invoke: Callable[..., Any]) -> None:
    Path("mine.csv").write_text("prompt,label\nis one plus one two ?,1\nis one plus one three ?,-1\n")
    shown = invoke("questions", "check", "mine.csv", *ON, "--answers", "yes=yes;no=no").stdout
    assert shown.splitlines()[-1].startswith("All 2 questions are answered in the expected form")
    assert "what is wrong" not in shown
