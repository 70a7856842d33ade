"""Clustered and paired bootstrap, exact intervals, multiplicity, coverage. Knows nothing of models."""

from gnomon.stats.intervals import Interval

__all__ = ["Interval"]
