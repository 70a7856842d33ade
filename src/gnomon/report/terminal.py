"""The Readings of a run on a console: the same sentences, headings and numbers as in the report. Knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.runs import Reading, interval_text
from gnomon.runs.columns import Cell, Column, rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(reading: Reading, console: Console | None = None) -> None:
    """Print a reading: sentence, headline, table (the leading columns that fit), examples, notes, what is missing."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = console or Console()
    console.print(Text(f"\n{reading.title}", style="bold"))
    if reading.sentence:
        console.print(Text(reading.sentence))
    if reading.headline is not None:
        console.print(Text(interval_text(reading.headline), style="bold"))
    if reading.table is not None:
        _print_table(reading.shown_columns, rows(reading.table, reading.shown_columns), console)
    for generation in reading.generations:
        console.print(Text(f"\n{generation.prompt}", style="italic"))
        for label, text in generation.texts.items():
            console.print(Padding(Text.assemble((f"{label:>3}  ", "bold"), text), (0, 0, 0, 2)))
    for note in reading.notes:
        console.print(Text(f"Note: {note}", style="dim"))
    for sentence in reading.missing:
        console.print(Text(f"Missing: {sentence}", style="dim"))


def _print_table(columns: tuple[Column, ...], cells: list[list[Cell]], console: Console) -> None:
    """As many leading columns as fit unwrapped, at least two; the headings of the others below."""
    from rich.text import Text

    count = len(columns)
    unbounded = console.options.update(max_width=10_000)
    while (
        count > 2
        and console.measure(_table(columns[:count], cells), options=unbounded).maximum > console.width
    ):
        count -= 1
    console.print(_table(columns[:count], cells))
    if count < len(columns):
        rest = "; ".join(column.heading for column in columns[count:])
        console.print(Text(f"Only in the report, or in a wider terminal: {rest}.", style="dim"))


def _table(columns: tuple[Column, ...], cells: list[list[Cell]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = any(row[index].number is not None for row in cells)
        table.add_column(Text(column.heading), justify="right" if numeric else "left")
    for row in cells:
        table.add_row(*(Text(cell.text) for cell in row[: len(columns)]))
    return table
