"""The progress bar: shown to who watches, silent otherwise, stages inside stages."""

import io
import sys

import pytest

from gnomon.runs import Progress, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in place of stderr, from here to the end of the test."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("GNOMON_QUIET", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def spend(stages: Progress) -> None:
    with stages("reading residuals", 20) as advance:
        advance(15)
        advance(5)


def test_a_terminal_sees_the_stage_its_count_and_its_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = watched(monkeypatch)
    spend(progress)
    text = terminal.getvalue()
    assert "reading residuals" in text
    assert "20/20" in text
    assert "/s" in text
    assert capsys.readouterr().out == ""


def test_a_stage_inside_a_stage_has_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with progress("methods", 2) as advance:
        spend(progress)
        advance()
        spend(progress)
        advance()
    with progress("after"):
        pass
    text = terminal.getvalue()
    assert "methods" in text
    assert "reading residuals" in text
    assert "2/2" in text
    assert "after" in text


def test_a_few_words_stand_beside_the_bar_until_the_next_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_line(words: list[str]) -> str:
        terminal = watched(monkeypatch)
        with progress("training", 20) as advance:
            for said in words:
                advance(20 // len(words), said)
        return next(line for line in reversed(terminal.getvalue().splitlines()) if "20/20" in line)

    assert "loss 0.5" in last_line(["loss 1.25", "loss 0.5"])
    assert "loss 1.25" not in last_line(["loss 1.25", "loss 0.5"])
    assert "loss" not in last_line(["loss 1.25", ""])


def test_words_are_swallowed_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 2) as advance:
        advance(1, "loss 1.25")
        advance()
    assert capsys.readouterr() == ("", "")


def test_silent_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    spend(progress)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_silent_when_told_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with progress("a", 1, quiet=True) as advance:
        advance()
    monkeypatch.setenv("GNOMON_QUIET", "1")
    spend(progress)
    assert terminal.getvalue() == ""


def test_an_error_ends_the_bar_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with pytest.raises(ValueError, match="no"), progress("outer", 1), progress("inner", 1):
        raise ValueError("no")
    spend(progress)
    assert "20/20" in terminal.getvalue()
