"""How a table and its numbers are worded: the same in terminal, Python and report. Knows no model.

A column `f1` with companions `f1_low` and `f1_high` is one interval; a missing number is "not measured".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gnomon.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.stats import Interval

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Column:
    """How one column of a Reading's table is shown.

    Attributes:
        name: the column in the table; where `name_low` and `name_high` exist too, they are its interval.
        label: the heading; empty means the name with spaces for underscores.
        unit: added to the heading ("%", "nats", "s"); the numbers are shown as they are stored.
        decimals: digits after the point; None shows whole numbers whole and three digits of the others.
        about: one sentence for a reader who was not there.
    """

    name: str
    label: str = ""
    unit: str = ""
    decimals: int | None = None
    about: str = ""

    @property
    def heading(self) -> str:
        """The label with its unit."""
        label = self.label or self.name.replace("_", " ")
        return f"{label}, {self.unit}" if self.unit else label

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Column:
        """The column of `to_dict`."""
        return cls(**fields)


@dataclass(frozen=True)
class Cell:
    """One shown cell: its words, the number behind them, and the interval around it (None: there is none)."""

    text: str
    number: float | None = None
    low: float | None = None
    high: float | None = None


def shown(table: pd.DataFrame, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns that matter to a reader: those given, else all of the table but the ends of intervals.

    Raises:
        UsageError: a given column is not in the table.
    """
    names = set(table.columns)
    missing = [column.name for column in columns if column.name not in names]
    if missing:
        raise UsageError(
            f"The table has no column {missing[0]!r}: give columns out of {', '.join(sorted(names))}."
        )
    if columns:
        return columns
    ends = {f"{name}_{end}" for name in names for end in ("low", "high") if has_interval(table, name)}
    return tuple(Column(name) for name in table.columns if name not in ends)


def has_interval(table: pd.DataFrame, name: str) -> bool:
    """Whether the table carries the low and the high end of a column."""
    return f"{name}_low" in table.columns and f"{name}_high" in table.columns


def measured(table: pd.DataFrame, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The given columns without those that are missing in every row: `empty` names them, a table need not."""
    return tuple(column for column in columns if not len(table) or table[column.name].notna().any())


def rows(table: pd.DataFrame, columns: tuple[Column, ...]) -> list[list[Cell]]:
    """The cells of the given columns, row by row."""
    shown_columns = [_cells(table, column) for column in columns]
    return [list(row) for row in zip(*shown_columns, strict=True)]


def empty(table: pd.DataFrame, columns: tuple[Column, ...]) -> list[str]:
    """One sentence per shown column with missing cells: what was not measured, and for which rows."""
    if not columns:
        return []
    sentences = []
    names = [cell.text for cell in _cells(table, columns[0])]
    for column in columns[1:]:
        cells = _cells(table, column)
        holes = [name for name, cell in zip(names, cells, strict=True) if cell.text == NOT_MEASURED]
        if holes:
            rows_named = "every row" if len(holes) == len(cells) > 1 else ", ".join(holes)
            sentences.append(f"{column.heading}: {NOT_MEASURED} for {rows_named}.")
    return sentences


def number(value: Any, decimals: int | None = None) -> str:
    """A value in words: a true minus sign, thousands separated, "not measured" for None and NaN."""
    if isinstance(value, str):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and decimals is None:
        return f"{value:,}".replace("-", "−")
    if isinstance(value, (int, float)):
        return _finite(float(value), decimals)
    return NOT_MEASURED if value is None else str(value)


def interval_text(interval: Interval, decimals: int | None = None) -> str:
    """An interval in words: "81.2 [76.0, 85.9] (95 % interval, n = 120 dilemmas)".

    Without `decimals` all three numbers get as many as show two digits of the interval's width.
    """
    if not math.isfinite(interval.estimate):
        return NOT_MEASURED
    size = f"n = {interval.n:,} {interval.unit}".rstrip()
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return f"{number(interval.estimate, decimals)} (interval {NOT_MEASURED}, {size})"
    ends = _with_ends(interval.estimate, interval.low, interval.high, decimals)
    return f"{ends} ({interval.level * 100:g} % interval, {size})"


def _cells(table: pd.DataFrame, column: Column) -> list[Cell]:
    values = _values(table, column.name)
    if not has_interval(table, column.name):
        return [Cell(number(value, column.decimals), _number(value)) for value in values]
    ends = zip(_values(table, f"{column.name}_low"), _values(table, f"{column.name}_high"), strict=True)
    return [
        _interval_cell(value, low, high, column.decimals)
        for value, (low, high) in zip(values, ends, strict=True)
    ]


def _values(table: pd.DataFrame, name: str) -> list[Any]:
    series = table[name].astype(object)
    return list(series.where(series.notna(), None))


def _interval_cell(value: Any, low: Any, high: Any, decimals: int | None) -> Cell:
    text = number(value, decimals)
    if _number(value) is None or _number(low) is None or _number(high) is None:
        return Cell(text, _number(value))
    return Cell(_with_ends(value, low, high, decimals), float(value), float(low), float(high))


def _with_ends(estimate: float, low: float, high: float, decimals: int | None) -> str:
    if decimals is None and high > low:
        decimals = max(0, 1 - math.floor(math.log10(high - low)))
    return f"{number(estimate, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"


def _number(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _finite(value: float, decimals: int | None) -> str:
    if math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "infinite" if value > 0 else "−infinite"
    if decimals is not None:
        text = f"{value:,.{decimals}f}"
    elif value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:,.0f}" if value.is_integer() or abs(value) >= 100 else f"{value:.3g}"
    else:
        text = f"{value:.2e}"
    if text.startswith("-") and not any(digit in text for digit in "123456789"):
        text = text[1:]  # -0.0 is zero
    return text.replace("-", "−")
