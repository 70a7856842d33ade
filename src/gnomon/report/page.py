"""One self-contained HTML page per run, composed of its Readings in their order. Knows Readings, no instrument.

The page opens from disk and asks no network: style and scripts are inside, and its security policy forbids the rest.
Everything that came from a model or a user is escaped.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from gnomon.report.figures import ACCENT, GREY
from gnomon.runs import NOT_MEASURED, Cell, Column, Generation, Reading, Run, interval_text, storage
from gnomon.runs import config as configs
from gnomon.runs.columns import rows

_BAR_WIDTH, _BAR_MARGIN = 110, 5


def render(run: Run) -> Path:
    """Write report.html into the run's folder, in place of an older one, and return its path.

    Raises:
        Failure: a reading is damaged, or the page cannot be written.
    """
    path = run.folder / "report.html"
    storage.write(path, html(run).encode())
    return path


def html(run: Run) -> str:
    """The page of a run as text; the same run gives the same text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    readings = run.readings
    return environment.get_template("page.html.jinja").render(
        run=run,
        **_top(run, readings),
        sections=[_section(reading) for reading in readings],
        missing=[(reading.title, sentence) for reading in readings for sentence in reading.missing],
        settings=[(name, _setting(value)) for name, value in configs.flat(run.config).items()],
        versions={**run.versions, "platform": run.platform},
        version_changes=_version_changes(run),
        not_measured=NOT_MEASURED,
        accent=ACCENT,
        grey=GREY,
        nonce=hashlib.sha256(f"{run.name} {run.created} {run.fingerprint}".encode()).hexdigest()[:24],
        plotly_js=_plotly_js() if any(reading.figures for reading in readings) else "",
    )


@dataclass(frozen=True)
class _Scale:
    """Where a number lies on the small bars of one column, in pixels; all rows share it, and zero is marked."""

    low: float
    high: float

    def at(self, value: float) -> float:
        width = (self.high - self.low) or 1.0
        return round(_BAR_MARGIN + (value - self.low) / width * (_BAR_WIDTH - 2 * _BAR_MARGIN), 1)

    @property
    def zero(self) -> float | None:
        return self.at(0.0) if self.low <= 0.0 <= self.high else None


def _top(run: Run, readings: list[Reading]) -> dict[str, Any]:
    toward, away = run.config.get("toward"), run.config.get("away")
    words = (toward, away) if toward and away else None
    warnings = {
        "failed": "This run ended with an error: the page shows what was finished before.",
        "killed": "This run was ended before it was done: the page shows what was finished before.",
    }
    return {
        "title": f"{toward} ↔ {away} in {run.config.get('model')}"
        if words
        else run.config.get("title", run.name),
        "words": words,
        "model": run.config.get("model"),
        "kind": run.config.get("command", "report"),
        "sentence": next((reading.sentence for reading in readings if reading.sentence), ""),
        "warning": warnings.get(run.status, ""),
    }


def _section(reading: Reading) -> dict[str, Any]:
    columns = reading.shown_columns
    cells = [] if reading.table is None else rows(reading.table, columns)
    headline = None if reading.headline is None else interval_text(reading.headline)
    figures = {name: _figure(reading.name, name, figure) for name, figure in reading.figures.items()}
    beside = {generation.figure for generation in reading.generations}
    return {
        "anchor": reading.name,
        "title": reading.title,
        "sentence": reading.sentence,
        "headline": None if headline is None else headline.partition(" ")[::2],
        "columns": [_column(column, [row[index] for row in cells]) for index, column in enumerate(columns)],
        "rows": [[_cell(cell) for cell in row] for row in cells],
        "figures": [figure for name, figure in figures.items() if name not in beside],
        "examples": [
            _example(group, list(found), figures) for group, found in groupby(reading.generations, _group)
        ],
        "notes": reading.notes,
    }


def _column(column: Column, cells: list[Cell]) -> dict[str, Any]:
    ends = [
        end
        for cell in cells
        for end in (cell.low, cell.high, cell.number)
        if cell.low is not None and end is not None
    ]
    return {
        "heading": column.heading,
        "about": column.about,
        "digits": max((len(cell.text.partition(" ")[0]) for cell in cells if cell.low is not None), default=0)
        + 0.5,
        "numeric": any(cell.number is not None for cell in cells) and not ends,
        "scale": _Scale(min(0.0, *ends), max(0.0, *ends)) if ends else None,
    }


def _cell(cell: Cell) -> dict[str, Any]:
    estimate, _, ends = cell.text.partition(" ")
    return {**vars(cell), "estimate": estimate, "ends": ends}


def _figure(reading: str, name: str, figure: dict[str, Any]) -> dict[str, Any]:
    """The page carries the title and the words of a figure, so the plot itself goes without."""
    plotly = storage.without_missing(copy.deepcopy(figure))
    layout = plotly.setdefault("layout", {})
    title = layout.pop("title", None) or {}
    meta = layout.pop("meta", None) or {}
    heading = (title.get("text") if isinstance(title, dict) else title) or name
    return {
        "anchor": f"{reading}-{name}",
        "title": heading,
        "caption": meta.get("caption", ""),
        "description": meta.get("description", heading),
        "plotly": plotly,
    }


def _group(generation: Generation) -> str:
    return generation.group


def _example(group: str, generations: list[Generation], figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Generations that stand side by side below what they have in common."""
    return {
        "group": group,
        "generations": [{**vars(one), "figure": figures.get(one.figure)} for one in generations],
    }


def _setting(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    return storage.to_json(value).decode()


def _version_changes(run: Run) -> list[str]:
    changes = []
    for event in run.events:
        for package, version in event.get("versions", {}).items():
            if run.versions.get(package) != version:
                changes.append(f"Resumed {event['time'][:16]} with {package} {version}.")
    return changes


def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
