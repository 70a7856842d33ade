"""What README and docs print runs as printed: Python blocks, command lines, named options, links, paths."""

import importlib
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import gnomon.bench
from gnomon.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
# Commands that answer at once; the others are parsed, and not run.
CHEAP = (
    ["questions", "template"],
    ["touchstone", "list"],
    ["touchstone", "card"],
    ["show", "touchstone:honesty"],
)
# Its blocks run in tests/questions/test_guide.py, which also looks at what they print.
RUN_ELSEWHERE = {"my-own-questions.md"}


def blocks(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [code for language, code in found if language in languages]


def lines(page: Path) -> Iterator[list[str]]:
    """The command lines of a page, as words; a line may go on behind a backslash."""
    for block in blocks(page, "console", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield words


def every_line(program: str) -> list[Any]:
    return [
        pytest.param(words[1:], id=f"{page.name}: {' '.join(words)}")
        for page in PAGES
        for words in lines(page)
        if words[0] == program
    ]


def options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (name for name in parameter.opts if name.startswith("--"))
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)


def test_pages_and_commands_are_found() -> None:
    assert {"README.md", "steering.md", "nothing-moved.md"} <= {page.name for page in PAGES}
    assert len(every_line("gnomon")) > 10


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python") and p.name not in RUN_ELSEWHERE], ids=lambda p: p.name
)
def test_python_blocks_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        # As many lines ahead as the page has: a traceback then names the line of the page.
        begin = page.read_text(encoding="utf-8").split(block)[0].count("\n")
        exec(compile("\n" * begin + block, str(page), "exec"), names)


@pytest.mark.parametrize("words", every_line("gnomon"))
def test_commands_are_understood(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap commands run. `steer` and `bench` read all of their settings and stop there, the others are parsed."""
    monkeypatch.chdir(tmp_path)
    program = typer.main.get_command(app)
    if not ("--help" in words or any(words[: len(cheap)] == cheap for cheap in CHEAP)):
        begun: list[object] = []
        monkeypatch.setattr(program, "callback", lambda **_: None)
        for name, command in program.commands.items():
            leaves = getattr(command, "commands", {name: command}).values()
            if name not in ("steer", "bench"):
                for leaf in leaves:
                    monkeypatch.setattr(leaf, "callback", lambda **_: None)
        for name in ("steer", "bench", "estimate"):
            monkeypatch.setattr(gnomon.bench, name, lambda *given: begun.append(given), raising=False)
        for module in ("steer", "bench"):
            monkeypatch.setattr(f"gnomon.cli.{module}.show_run", lambda *_, **__: None)
            monkeypatch.setattr(f"gnomon.cli.{module}.show_estimate", lambda *_, **__: begun.append(None))
        program.main(words, standalone_mode=False)
        assert len(begun) == (words[0] in ("steer", "bench"))
        return
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("words", every_line("make"))
def test_make_has_the_target(words: list[str]) -> None:
    assert re.search(rf"^{re.escape(words[0])}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_options_exist(page: Path) -> None:
    """An option that is named in the text, such as `--kl`, is an option of some command."""
    inline = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = {
        found for code in re.findall(r"`([^`]+)`", inline) for found in re.findall(r"--[a-z][a-z-]+", code)
    }
    known = {*options(typer.main.get_command(app)), "--help"}
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    linked = [page.parent / link.split("#")[0] for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)]
    named = [ROOT / path for path in re.findall(r"`((?:src|tests|benchmarks|docs)/[\w./-]+)`", text)]
    run = [ROOT / word for words in lines(page) for word in words if word.startswith("benchmarks/")]
    missing = [
        str(path.relative_to(ROOT)) for path in itertools.chain(linked, named, run) if not path.exists()
    ]
    assert missing == []


def test_the_public_names_of_the_rooms_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^### (\w+)\nPublic: (.*)$", text, flags=re.MULTILINE)
    assert len(rooms) >= 9
    missing = [
        f"{room}.{name}"
        for room, line in rooms
        for name in re.findall(r"`(\w+)`", line)
        if not hasattr(importlib.import_module(f"gnomon.{room}"), name)
    ]
    assert missing == []
