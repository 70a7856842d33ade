"""A Reading saves itself, comes back the same, and shows itself."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gnomon.errors import Failure, UsageError
from gnomon.runs import Column, Generation, Reading
from gnomon.stats import Interval


def reading(**changes: Any) -> Reading:
    fields: dict[str, Any] = {
        "name": "steering_f1",
        "title": "Steering F1",
        "headline": Interval(estimate=81.2, low=76.0, high=85.9, n=120, unit="dilemmas", level=0.95),
        "sentence": "The dial makes it honest.",
        "table": pd.DataFrame(
            {"method": ["shift", "none"], "f1": [81.2, math.nan], "n": [1, 2], "vector": [[1.0, 2.0], [3.0]]}
        ),
        "figures": {"kl": {"data": [{"x": [1, 2]}], "layout": {"title": {"text": "KL"}}}},
        "notes": ("One note.",),
        "data": {"budget": np.float64(0.25), "strengths": (1, 2)},
        "columns": (Column("method"), Column("f1", label="Steering F1", decimals=1, about="The score.")),
        "generations": (
            Generation("hello", {"-1": "no", "0": "hm", "+1": "yes"}),
            Generation("plain", {"0": "hm"}, figure="kl", group="the same question"),
        ),
        "not_measured": ("Refusals.",),
    }
    return Reading(**{**fields, **changes})


def test_a_saved_reading_comes_back(tmp_path: Path) -> None:
    saved = reading()
    loaded = Reading.load(saved.save(tmp_path / "one"))
    assert loaded.table is not None
    assert saved.table is not None
    assert list(loaded.table.columns) == list(saved.table.columns)
    assert loaded.table["f1"].equals(saved.table["f1"])
    assert [list(vector) for vector in loaded.table["vector"]] == [[1.0, 2.0], [3.0]]
    assert loaded.data == {"budget": 0.25, "strengths": [1, 2]}
    for name in ("name", "title", "headline", "sentence", "figures", "notes", "columns", "not_measured"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert loaded.generations == saved.generations
    assert list(loaded.generations[0].texts) == ["-1", "0", "+1"]


def test_a_generation_shows_no_figure_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no figure 'other'"):
        reading(generations=(Generation("hello", {"0": "hm"}, figure="other"),))


def test_a_reading_with_nothing_but_a_name_comes_back(tmp_path: Path) -> None:
    loaded = Reading.load(Reading(name="n", title="T").save(tmp_path / "one"))
    assert (loaded.headline, loaded.table, loaded.figures, loaded.shown_columns) == (None, None, {}, ())


def test_the_headline_is_json_that_others_can_read(tmp_path: Path) -> None:
    reading().save(tmp_path / "one")
    assert json.loads((tmp_path / "one/reading.json").read_text())["headline"]["estimate"] == 81.2
    assert pd.read_parquet(tmp_path / "one/table.parquet")["f1"][0] == 81.2


def test_saving_again_replaces_everything(tmp_path: Path) -> None:
    reading().save(tmp_path / "one")
    reading(figures={}, generations=(), table=None, columns=()).save(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["one", "reading.json"]


def test_saving_never_replaces_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="choose another folder"):
        reading().save(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = reading().save(tmp_path / "one") / "table.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Failure, match=r"table\.parquet is damaged"):
        Reading.load(tmp_path / "one")


def test_a_folder_without_a_reading_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no reading"):
        Reading.load(tmp_path)


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "a/b"])
def test_a_name_must_be_a_file_name(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a file"):
        reading(name=name)
    with pytest.raises(UsageError, match="cannot name a file"):
        reading(figures={name: {}})


def test_a_shown_column_must_exist() -> None:
    with pytest.raises(UsageError, match="no column 'typo'"):
        reading(columns=(Column("typo"),))


def test_what_is_missing_comes_from_the_instrument_and_from_the_table() -> None:
    assert reading().missing == ("Refusals.", "Steering F1: not measured for none.")


def test_the_repr_is_short() -> None:
    assert repr(reading()) == "<Reading steering_f1: 81.2 [76.0, 85.9] (95 % interval, n = 120 dilemmas)>"
    assert repr(Reading(name="n", title="T")) == "<Reading n>"


def test_the_notebook_shows_the_table_escaped() -> None:
    shown = reading(sentence="<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in shown
    assert '<th scope="col">Steering F1</th>' in shown
    assert "<td>not measured</td>" in shown
    assert "vector" not in shown
