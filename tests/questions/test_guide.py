"""The page on one's own questions runs as printed, block after block."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "my-own-questions.md"


def test_the_page_runs_and_says_what_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    names: dict[str, object] = {}
    printed = []
    for block in blocks:
        exec(block, names)
        printed.append(capsys.readouterr().out)
    loading, checked, wrong, chat, several, lopsided = printed
    assert "4 targets in 2 clusters, 1 controls" in loading
    assert "note: vases.csv has no column 'classes', so the answers are yes and no" in loading
    assert "All 5 questions are answered in the expected form" in checked
    assert "5 of 5 questions have an answer mass below 0.5" in wrong
    assert "system='be honest .'" in chat
    assert "low answer mass" not in several
    assert "5 of 5 questions have unusable answers" in several
    assert "100% of the labels are 1" in lopsided
