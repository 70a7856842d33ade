"""The page: self-contained, escaped, complete, readable without its author."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gnomon import report
from gnomon.runs import Generation, Reading, Run
from gnomon.runs import config as configs
from gnomon.stats import Interval

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Page(HTMLParser):
    """The elements of a page and the words that a reader sees."""

    VOID = frozenset({"meta", "br", "img", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self.stack:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def page(example_run: Callable[..., Run]) -> Page:
    return Page(report.html(example_run()))


def test_render_writes_one_file_into_the_run(example_run: Callable[..., Run]) -> None:
    run = example_run()
    path = report.render(run)
    assert path == run.folder / "report.html"
    assert path.read_text(encoding="utf-8") == report.html(run)
    assert report.render(run) == path


def test_everything_is_inside_and_the_network_is_forbidden(page: Page) -> None:
    assert page.stack == []
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "img", "object", "base"), tag
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    policies = [meta["content"] or "" for meta in page.all("meta") if meta.get("http-equiv")]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; script-src 'nonce-")


def test_plotly_is_inlined_once_and_only_where_there_are_figures(page: Page, tmp_path: Path) -> None:
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    with Run.create({}, tmp_path, name="bare") as run:
        run.add(Reading(name="words", title="Words", sentence="Nothing to draw."))
    assert Page(report.html(run)).scripts == []


def test_every_script_that_runs_carries_the_nonce(page: Page) -> None:
    nonces = {tag.get("nonce") for tag in page.all("script") if tag.get("type") != "application/json"}
    assert len(nonces) == 1
    assert nonces != {None}


def test_the_reader_sees_words_model_sentence_numbers_examples_settings_and_versions(page: Page) -> None:
    for words in (
        "honest ↔ dishonest",
        "in touchstone:honesty",
        "Steering F1 81.2 [76.3, 85.6] on 120 dilemmas",
        "81.2 [76.3, 85.6] (95 % interval, n = 120 dilemmas)",
        "68.4 [62.3, 73.9]",
        "−22.5 [−31.3, −14.6]",
        "Flippable rows that flipped as asked.",
        "you broke the vase of your mother",
        "no , i hide the pieces",
        "−1 dishonest",
        "strength.kl_budget 0.25",
        "transformers",
        "Strength is matched to the persona's own shift",
    ):
        assert words in page.text, words
    assert page.text.count("Steering F1 81.2 [76.3, 85.6] on 120 dilemmas") == 1


def test_what_was_not_measured_is_said_and_nan_never_shown(page: Page) -> None:
    assert "Steering F1: Seeds beyond the third." in page.text
    assert "Steering F1: at −1: not measured for yes-bias." in page.text
    assert "Steering F1: refusal mass: not measured for every row." in page.text
    assert "refusal mass" not in page.text.split("What was not measured")[1].split("KL, nats")[0]
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)


def test_every_section_has_a_heading_an_anchor_and_a_link(page: Page) -> None:
    headings = [attributes["id"] for attributes in page.all("h2")]
    assert headings == [
        "steering_f1",
        "consistency",
        "examples",
        "run-missing",
        "run-settings",
        "run-versions",
    ]
    assert [section["aria-labelledby"] for section in page.all("section")] == headings
    links = {attributes["href"] for attributes in page.all("a")}
    assert {f"#{anchor}" for anchor in headings} <= links
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {link.removeprefix("#") for link in links if link} <= set(identifiers)


def test_the_heading_of_the_first_column_stands_over_its_row_headings(tmp_path: Path) -> None:
    with Run.create({}, tmp_path, name="blocks") as run:
        run.add(
            Reading(name="r", title="R", table=pd.DataFrame({"block": [0, 1], "consistency": [0.5, 0.9]}))
        )
    block, consistency, *rows = Page(report.html(run)).all("th")
    assert "class" not in block
    assert consistency["class"] == "number"
    assert all("class" not in row for row in rows)


def test_tables_have_scoped_headers_and_figures_a_description(page: Page) -> None:
    scopes = [header["scope"] for header in page.all("th")]
    assert scopes == ["col"] * 11 + ["row"] * 8
    plots = [attributes for attributes in page.all("div") if attributes.get("class") == "plot"]
    assert len(plots) == 4
    assert all(plot["role"] == "img" for plot in plots)
    assert (plots[0]["aria-label"] or "").startswith(
        "Steering F1 against KL. shift: from 21 at 0.01 to 74 at 1, "
    )
    assert all(svg["aria-hidden"] == "true" for svg in page.all("svg"))
    assert page.all("html") == [{"lang": "en"}]


def test_figures_arrive_as_strict_json(tmp_path: Path) -> None:
    with Run.create({}, tmp_path, name="one") as run:
        figure = {"data": [{"type": "scatter", "y": [1.0, float("nan")]}], "layout": {"title": "Plain title"}}
        run.add(Reading(name="r", title="R", figures={"f": figure}))
    page = Page(report.html(run))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    plotly = json.loads(page.scripts[0], parse_constant=refuse)
    assert plotly["data"][0]["y"] == [1.0, None]
    assert "title" not in plotly["layout"]
    assert "Plain title" in page.text


def test_interval_bars_lie_where_the_numbers_are(page: Page) -> None:
    dots = [float(circle["cx"] or "") for circle in page.all("circle")]
    spans = [line for line in page.all("line") if line["class"] == "span"]
    zeros = {float(line["x1"] or "") for line in page.all("line") if line["class"] == "zero"}
    assert len(dots) == 8
    assert len(zeros) == 1
    assert [dot > zeros.copy().pop() for dot in dots] == [True] * 5 + [False] * 3
    assert dots[0] == max(dots)
    assert dots[6] == min(dots)
    assert dots[7] == zeros.pop()
    for dot, span in zip(dots, spans, strict=True):
        assert 0 <= float(span["x1"] or "") <= dot <= float(span["x2"] or "") <= 110


@pytest.mark.parametrize(
    "place", ["generation", "group", "sentence", "config", "table", "figure", "note", "heading"]
)
def test_text_of_models_and_users_never_becomes_markup(tmp_path: Path, place: str) -> None:
    def text(here: str) -> str:
        return ATTACK if place == here else "harmless"

    config = {
        "toward": text("config"),
        "away": "b",
        "model": text("config"),
        "other": {"deep": text("config")},
    }
    with Run.create(config, tmp_path, name="one") as run:
        run.add(
            Reading(
                name="r",
                title=text("heading"),
                sentence=text("sentence"),
                headline=Interval(estimate=1.0, low=0.5, high=2.0, n=3, unit=text("heading"), level=0.95),
                table=pd.DataFrame({"method": [text("table")], text("table"): [1.5]}),
                figures={
                    "f": report.figures.per_block({text("figure"): [1.0, 2.0]}, title=text("figure"), y="y")
                },
                notes=(text("note"),),
                not_measured=(text("note"),),
                generations=(
                    Generation(
                        text("generation"), {text("generation"): text("generation")}, group=text("group")
                    ),
                ),
            )
        )
    page = Page(report.html(run))
    assert page.stack == []
    assert len(page.scripts) == 3  # the figure's data, plotly, the page's own
    assert not page.all("img")
    assert not [one for _, attributes in page.elements for one in attributes if one.startswith("on")]
    assert re.sub(r"\s+", " ", ATTACK) in page.text
    data: dict[str, Any] = json.loads(page.scripts[0])
    assert (data["data"][0]["name"] == ATTACK) == (place == "figure")


def test_generations_of_a_group_stand_below_what_they_share_each_with_its_figure(tmp_path: Path) -> None:
    names = ("first", "second", "other")
    figures = {name: {"data": [], "layout": {"meta": {"description": f"about {name}"}}} for name in names}
    with Run.create({}, tmp_path, name="one") as run:
        run.add(
            Reading(
                name="r",
                title="R",
                figures=figures,
                generations=(
                    Generation("as it is", {"0": "hm ."}, figure="first", group="do you lie ?"),
                    Generation("behind a persona", {"0": "no ."}, figure="second", group="do you lie ?"),
                    Generation("alone", {"0": "so it goes ."}),
                ),
            )
        )
    page = Page(report.html(run))
    assert page.stack == []
    words = ["do you lie ?", "as it is", "hm .", "behind a persona", "no .", "alone", "so it goes ."]
    assert page.text.count("do you lie ?") == 1
    assert sorted(words, key=page.text.index) == words
    classes = [attributes.get("class") for attributes in page.all("div")]
    assert classes.count("abreast") == 1
    # A figure that no generation shows stands with the section's figures, once; none is drawn twice.
    plots = [attributes["aria-label"] for attributes in page.all("div") if attributes.get("class") == "plot"]
    assert plots == ["about other", "about first", "about second"]


def test_another_instrument_gets_a_page_too(tmp_path: Path) -> None:
    with Run.create({"title": "Probes of Llama", "command": "probe"}, tmp_path, name="one") as run:
        run.add(Reading(name="auroc", title="AUROC", table=pd.DataFrame({"probe": ["a"], "auroc": [0.91]})))
    page = Page(report.html(run))
    assert "Probes of Llama" in page.text
    assert "gnomon · probe" in page.text
    assert "0.91" in page.text


def test_a_run_without_readings_and_without_rows_still_renders(tmp_path: Path) -> None:
    with Run.create({}, tmp_path, name="empty") as run:
        pass
    assert "empty" in Page(report.html(run)).text
    with Run.open(run.folder) as run:
        run.add(Reading(name="r", title="R", table=pd.DataFrame({"a": [], "b": []})))
        run.add(Reading(name="s", title="S", table=pd.DataFrame({"a": [np.nan], "b": [np.nan]})))
    assert Page(report.html(run)).stack == []


def test_a_long_setting_is_folded_and_whole(tmp_path: Path) -> None:
    templates = [f"You are {{a}} {{}} person, number {number}." for number in range(50)]
    with Run.create({"templates": templates, "seed": 0}, tmp_path, name="one") as run:
        pass
    page = Page(report.html(run))
    assert len(page.all("details")) == 1
    assert json.dumps(templates) in page.text


def test_a_killed_and_a_failed_run_say_so(tmp_path: Path) -> None:
    run = Run.create({}, tmp_path, name="one")
    assert "ended" not in Page(report.html(run)).text
    run.close()
    assert "was ended before it was done" in Page(report.html(run)).text
    run.event("failed", error="ValueError: no")
    run.close()
    assert "ended with an error" in Page(report.html(run)).text


def test_a_change_of_versions_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run.create({}, tmp_path, name="one").close()
    monkeypatch.setattr(configs, "versions", lambda: {**Run.open("one", tmp_path).versions, "torch": "9.9"})
    with Run.resume_or_create({}, tmp_path / "one") as run:
        pass
    text = Page(report.html(run)).text
    assert re.search(r"Resumed \d{4}-\d\d-\d\dT\d\d:\d\d with torch 9\.9\.", text)
    assert "with python" not in text
