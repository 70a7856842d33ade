"""`gnomon touchstone`: list, card and build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnomon import touchstones


def test_list_names_every_touchstone_with_its_numbers(invoke: Callable[..., Any]) -> None:
    shown = invoke("touchstone", "list").stdout
    for name in touchstones.names():
        [line] = [line for line in shown.splitlines() if line.split()[:1] == [name]]
        assert f"right {touchstones.recipe(name)['acceptance']['right']:.3g}" in line


def test_card_and_show_print_the_card(invoke: Callable[..., Any]) -> None:
    card = touchstones.card("honesty").rstrip() + "\n"
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
