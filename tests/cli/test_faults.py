"""Bad input of every kind, through the real rooms: one line on stderr, the right exit code, no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gnomon import touchstones


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of bad files."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("empty").mkdir()
    shutil.copytree(touchstones.folder("honesty"), "weightless")
    Path("weightless/model.safetensors").unlink()
    Path("columns.csv").write_text("question,label\nis one plus one two ?,1\n")
    Path("file").write_text("no folder")


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        ("steer --toward", 2, "toward word is empty"),
        ("steer --toward honest --away HONEST", 2, "two different words"),
        ("steer --methods psychic", 2, "no method 'psychic'"),
        ("steer --model nobody/nothing", 2, "nobody/nothing"),
        ("steer --model weightless", 2, "no safetensors weights"),
        ("steer --model empty", 2, "no config.json"),
        ("steer --model touchstone:gold", 2, "no touchstone 'gold'"),
        ("steer --questions columns.csv", 2, "no column 'prompt'"),
        ("steer --questions absent.csv", 2, "absent.csv"),
        ("steer --suffixes absent.txt", 2, "absent.txt"),
        (
            "bench --model touchstone:honesty --model weightless --quick --methods prompting",
            2,
            "no safetensors weights",
        ),
        ("questions check columns.csv --model touchstone:honesty", 2, "no column 'prompt'"),
        ("questions check columns.csv --model weightless --prompt question", 2, "no safetensors weights"),
        ("chat --model touchstone:honesty --dial empty", 2, "holds no dial"),
        ("touchstone card gold", 2, "no touchstone 'gold'"),
        ("touchstone build gold", 2, "no recipe"),
        ("show touchstone:gold", 2, "no touchstone 'gold'"),
        ("compare a b", 2, "no run 'a'"),
        ("steer --root file/inside --methods random", 1, "file"),
    ],
)
def test_one_line(arguments: str, exit_code: int, words: str, refused: Callable[..., str]) -> None:
    given = arguments.split()
    if arguments.endswith("--toward"):
        given.append("")
    assert words in refused(exit_code, *given)
