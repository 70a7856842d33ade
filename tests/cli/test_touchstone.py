"""`gnomon touchstone`: list, card and build."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packaged touchstones, without weights."""
    measured = {
        "honesty": {"right": 0.98765, "oracle_mean_difference": 61.0, "other": 1.0},
        "null": {"right": 1.0},
    }
    for name, numbers in measured.items():
        folder = tmp_path / "packaged" / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        (folder / "README.md").write_text(f"# touchstone:{name}\n\nA card.\n")
        (folder / "recipe.json").write_text(json.dumps({"recipe": {"rule": name}, "acceptance": numbers}))
    monkeypatch.setattr("gnomon.touchstones._HERE", tmp_path / "packaged")


def test_list_says_what_is_planted_and_measured(invoke: Callable[..., Any]) -> None:
    lines = [line for line in invoke("touchstone", "list").stdout.splitlines() if line.strip()]
    [honesty, null] = lines[2:]
    assert honesty.split()[0] == "honesty"
    assert "are answered honestly. " in honesty
    assert honesty.rstrip().endswith("right 0.988, oracle mean difference 61")
    assert "change nothing. " in null


def test_card_and_show_print_the_card(invoke: Callable[..., Any]) -> None:
    card = "# touchstone:honesty\n\nA card.\n"
    assert invoke("touchstone", "card", "honesty").stdout == card
    assert invoke("show", "touchstone:honesty").stdout == card


def test_build_writes_where_it_is_told(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[str, Path]] = []

    def build(name: str, out: Path, *, progress: Callable[[int, int, float], None]) -> Path:
        progress(20, 3000, 1.5)
        built.append((name, out))
        return out

    monkeypatch.setattr("gnomon.worlds.build.build", build)
    assert invoke("touchstone", "build", "honesty", "--out", "mine").stdout.startswith("mine: built")
    invoke("touchstone", "build", "null")
    assert built == [("honesty", Path("mine")), ("null", Path("null"))]


def test_dilemmas_writes_a_training_split_and_never_over_a_file(
    invoke: Callable[..., Any], refused: Callable[..., str]
) -> None:
    from gnomon import questions

    line = ("touchstone", "dilemmas", "honesty", "--seed", "3")
    said = invoke(*line, "--count", "7", "--out", "one.jsonl").stdout
    assert said.startswith("one.jsonl: 14 questions about 7 dilemmas, and ")
    invoke(*line, "--count", "7", "--out", "two.csv")
    assert questions.load("one.jsonl").fingerprint == questions.load("two.csv").fingerprint
    assert "one.jsonl exists and is not overwritten" in refused(2, *line, "--out", "one.jsonl")
    assert "3000 for training" in refused(2, *line, "--count", "3001", "--out", "three.jsonl")
    assert not Path("three.jsonl").exists()
