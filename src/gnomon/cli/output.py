"""Results on the console: readings as text or as one JSON document, the sentence, and where the files are.

Knows Runs and Readings; knows no instrument.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from gnomon.runs import Reading, Run

# Wide enough for every table: what is piped into a file or another program is not folded.
_UNFOLDED = 500
# What the bench calls its tables, and (with a number where there are several models) what a run was made for.
_TABLES = "steering_f1"
_HEADLINE = re.compile(r"steering_f1(-\d+)?")
DIAL = "dial.json"


def console() -> Console:
    """The standard output; without colours and folding where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _UNFOLDED, highlight=False)


def table(headings: list[str], rows: list[list[str]]) -> None:
    """Print rows of text below headings."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    printed = Table(*headings, box=box.SIMPLE_HEAD)
    for row in rows:
        printed.add_row(*map(Text, row))
    console().print(printed)


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Keep the standard output free for the JSON document: whatever a library prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def print_json(document: Mapping[str, Any]) -> None:
    """Print strict JSON: what was not measured is null."""
    from gnomon.runs import storage

    strict = storage.without_missing(storage.plain(document, "document"))
    typer.echo(json.dumps(strict, indent=1, ensure_ascii=False, allow_nan=False))


def show_run(run: Run, *, as_json: bool) -> None:
    """Print a run's main readings, and where its report and its dials are; as JSON, all of its readings."""
    readings = run.readings
    if as_json:
        print_json(
            {
                "run": run.folder,
                "status": run.status,
                "sentence": "\n".join(reading.sentence for reading in readings if _is_headline(reading)),
                "readings": [document(reading) for reading in readings],
                "not_measured": [missing for reading in readings for missing in reading.missing],
                **files(run.folder),
            }
        )
        return
    # What decides comes last, where it stays in sight; figures and side tables are in the report.
    show_readings(sorted((one for one in readings if one.name.startswith(_TABLES)), key=_is_headline))
    typer.echo()
    show_files(run.folder)


def show_readings(readings: list[Reading]) -> None:
    """Print readings one after the other, in the words of the report."""
    from gnomon.report import terminal

    for reading in readings:
        terminal.show(reading, console())


def files(folder: Path) -> dict[str, Any]:
    """The report of a run (None: there is none yet) and the folders of its dials."""
    report = folder / "report.html"
    return {"report": report if report.is_file() else None, "dials": dials(folder)}


def dials(folder: Path) -> list[Path]:
    """The folders of the dials that a run kept, one per model."""
    return sorted(path.parent for path in folder.glob(f"dial*/{DIAL}"))


def show_files(folder: Path) -> None:
    """Print where a run's report and dials are."""
    found = files(folder)
    for name, path in [("report", found["report"]), *(("dial", dial) for dial in found["dials"])]:
        if path is not None:
            typer.echo(f"{name}: {path}")


def _is_headline(reading: Reading) -> bool:
    """Whether this is the reading that the run was made for (of one model)."""
    return _HEADLINE.fullmatch(reading.name) is not None


def document(reading: Reading) -> dict[str, Any]:
    """A reading as JSON, its table as one object per row."""
    rows: list[Any] = []
    if reading.table is not None:
        values = reading.table.astype(object)
        rows = values.where(values.notna(), None).to_dict("records")
    return {
        "name": reading.name,
        "title": reading.title,
        "sentence": reading.sentence,
        "headline": None if reading.headline is None else reading.headline.to_dict(),
        "table": rows,
        "notes": reading.notes,
        "not_measured": reading.missing,
    }


def headlines(folder: Path) -> list[dict[str, str]]:
    """Title, sentence and headline (in words) of what a run was made for, without opening any table."""
    from gnomon.runs import interval_text, storage
    from gnomon.stats import Interval

    found = []
    for path in sorted(folder.glob(f"readings/*-{_TABLES}*/reading.json")):
        kept = storage.from_json(storage.read(path), path)
        if _HEADLINE.fullmatch(kept["name"]):
            interval = kept["headline"]
            headline = "" if interval is None else interval_text(Interval.from_dict(interval))
            found.append({"title": kept["title"], "headline": headline, "sentence": kept["sentence"]})
    return found


def models_of(run: Run) -> str:
    """The models of a run, as its config names them."""
    return ", ".join(run.config.get("models") or [str(run.config.get("model", "no model"))])


def words_of(run: Run) -> str:
    """The two words of a run."""
    return " / ".join(str(run.config.get(side, "")) for side in ("toward", "away"))
