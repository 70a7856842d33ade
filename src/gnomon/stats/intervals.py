"""An estimate with its interval, its n and its unit: the form of every headline number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Interval:
    """A number with its interval. A missing number is NaN, never 0.

    Attributes:
        estimate: the number; NaN is "not measured".
        low: lower end; NaN where there is a number but no interval.
        high: upper end.
        n: how many were sampled of what was sampled (dilemmas, seeds), not rows.
        unit: what was sampled, in the plural.
        level: confidence level.
    """

    estimate: float
    low: float
    high: float
    n: int
    unit: str
    level: float = 0.95

    @classmethod
    def nothing(cls, n: int, unit: str, level: float = 0.95) -> Self:
        """The interval of a number that could not be measured on `n` units."""
        return cls(math.nan, math.nan, math.nan, n, unit, level)

    @property
    def missing(self) -> bool:
        """Whether there is no number."""
        return math.isnan(self.estimate)

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON: NaN and infinities become null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The interval of `to_dict`."""
        numbers = {
            name: math.nan if fields[name] is None else float(fields[name])
            for name in ("estimate", "low", "high")
        }
        return cls(**{**fields, **numbers})

    def __str__(self) -> str:
        """Words such as "+38 [29, 46], n = 200 dilemmas", with the decimals that the interval's width supports."""
        size = f"n = {self.n:,} {self.unit}".rstrip()
        if self.missing:
            return f"not measured, {size}"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{_signed(self.estimate, 1)} (no interval), {size}"
        width = self.high - self.low
        decimals = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 1
        low, high = (_signed(end, decimals).removeprefix("+") for end in (self.low, self.high))
        return f"{_signed(self.estimate, decimals)} [{low}, {high}], {size}"


def _signed(value: float, decimals: int) -> str:
    """A number with its sign, a true minus, and no sign on zero."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")
