"""What an instrument returns: a sentence, a headline with interval, a table, figures. Knows no instrument."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.errors import Failure, UsageError
from gnomon.runs import storage
from gnomon.runs.columns import Column, empty, interval_text, measured, rows, shown
from gnomon.stats import Interval

if TYPE_CHECKING:
    import pandas as pd

_MANIFEST = "reading.json"
_TABLE = "table.parquet"


@dataclass(frozen=True)
class Generation:
    """One prompt and what the model wrote, by label in the order shown: {"−1": ..., "0": ..., "+1": ...}.

    Attributes:
        prompt: the prompt, or what tells it from the others of its group.
        texts: the continuations by label.
        figure: the name of the Reading's figure that is shown with it; empty for none.
        group: what neighbours have in common, in words; they stand side by side below it. Empty for one alone.
    """

    prompt: str
    texts: Mapping[str, str]
    figure: str = ""
    group: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Reading:
    """The result of one instrument, ready to be saved, printed, and composed into a report.

    Attributes:
        name: a short name for files and anchors: letters, digits, "-", "_" and "." ("steering_f1").
        title: the heading of its section.
        headline: the one number, with its interval and n; None where the instrument has none.
        sentence: the result in words, for a reader who was not there.
        table: a tidy pandas DataFrame; `x_low` and `x_high` beside `x` are its interval.
        figures: plotly figures as dicts, by a short name; `gnomon.report.figures` builds them.
        notes: what a reader must know to judge the numbers, one sentence each.
        data: whatever else must be kept, as JSON.
        columns: which columns of the table are shown, in order, and how; empty shows all.
        generations: example texts, shown side by side.
        not_measured: what the instrument could have measured and did not, one sentence each.

    Raises:
        UsageError: the name is no file name, a shown column is not in the table, or a generation's figure is not there.
    """

    name: str
    title: str
    headline: Interval | None = None
    sentence: str = ""
    table: pd.DataFrame | None = None
    figures: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    generations: tuple[Generation, ...] = ()
    not_measured: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.figures):
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise UsageError(f"{name!r} cannot name a file: use letters, digits, '-', '_' and '.'.")
        if self.table is not None:
            shown(self.table, self.columns)
        for generation in self.generations:
            if generation.figure and generation.figure not in self.figures:
                raise UsageError(
                    f"there is no figure {generation.figure!r} to show with a generation: add it."
                )

    @property
    def shown_columns(self) -> tuple[Column, ...]:
        """The columns that a reader sees: those with at least one measured cell; none without a table."""
        return () if self.table is None else measured(self.table, shown(self.table, self.columns))

    @property
    def missing(self) -> tuple[str, ...]:
        """What was not measured: the instrument's sentences, then one per shown column with empty cells."""
        if self.table is None:
            return self.not_measured
        return (*self.not_measured, *empty(self.table, shown(self.table, self.columns)))

    def save(self, folder: str | Path) -> Path:
        """Write reading.json, table.parquet and figures/ to a folder, in place of a reading that is there.

        Raises:
            UsageError: the folder holds something else, or the data has no JSON form.
            Failure: the disk is full or refuses.
        """
        folder = Path(folder)
        with storage.disk(folder):
            if folder.exists() and any(folder.iterdir()) and not (folder / _MANIFEST).exists():
                raise UsageError(f"{folder} holds something that is no reading: choose another folder.")
        files = {f"figures/{name}.json": storage.to_json(figure) for name, figure in self.figures.items()}
        if self.table is not None:
            files[_TABLE] = storage.table_to_bytes(self.table)
        manifest = {
            "name": self.name,
            "title": self.title,
            "sentence": self.sentence,
            "headline": None if self.headline is None else self.headline.to_dict(),
            "notes": self.notes,
            "not_measured": self.not_measured,
            "columns": [column.to_dict() for column in self.columns],
            "generations": [vars(one) for one in self.generations],
            "data": self.data,
            "files": {name: storage.checksum(content) for name, content in files.items()},
        }
        new = folder.with_name(f".{folder.name}.new.tmp")
        old = folder.with_name(f".{folder.name}.old.tmp")
        with storage.disk(folder):
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)
            for name, content in {**files, _MANIFEST: storage.to_json(manifest, indent=1)}.items():
                storage.write(new / name, content)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Reading:
        """The reading that `save` wrote.

        Raises:
            UsageError: the folder holds no reading.
            Failure: a file of it is missing or damaged.
        """
        folder = Path(folder)
        path = folder / _MANIFEST
        if not path.is_file():
            raise UsageError(f"{folder} holds no reading: give a folder with a {_MANIFEST}.")
        fields = storage.from_json(storage.read(path), path)
        contents = {}
        for name, recorded in fields.pop("files").items():
            contents[name] = storage.read(folder / name)
            if storage.checksum(contents[name]) != recorded:
                raise Failure(f"{folder / name} is damaged: remove {folder} and run again.")
        table = contents.pop(_TABLE, None)
        headline = fields["headline"]
        return cls(
            name=fields["name"],
            title=fields["title"],
            sentence=fields["sentence"],
            headline=None if headline is None else Interval.from_dict(headline),
            table=None if table is None else storage.table_from_bytes(table, folder / _TABLE),
            figures={
                Path(name).stem: storage.from_json(figure, folder / name) for name, figure in contents.items()
            },
            notes=tuple(fields["notes"]),
            data=fields["data"],
            columns=tuple(Column.from_dict(column) for column in fields["columns"]),
            generations=tuple(Generation(**one) for one in fields["generations"]),
            not_measured=tuple(fields["not_measured"]),
        )

    def __repr__(self) -> str:
        headline = "" if self.headline is None else f": {interval_text(self.headline)}"
        return f"<Reading {self.name}{headline}>"

    def _repr_html_(self) -> str:
        """The title, the sentence and the table, for a notebook."""
        parts = [f"<strong>{html.escape(self.title)}</strong>", f"<p>{html.escape(self.sentence)}</p>"]
        if self.headline is not None:
            parts.insert(1, f" {html.escape(interval_text(self.headline))}")
        if self.table is not None:
            columns = self.shown_columns
            head = "".join(f'<th scope="col">{html.escape(column.heading)}</th>' for column in columns)
            body = "".join(
                "<tr>" + "".join(f"<td>{html.escape(cell.text)}</td>" for cell in row) + "</tr>"
                for row in rows(self.table, columns)
            )
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        return "".join(parts)
