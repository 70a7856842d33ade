"""Intervals, resampling and tests. Knows arrays and clusters; knows nothing of models."""

from gnomon.stats.bootstrap import bootstrap_interval, multinomial_weights, paired_p_values
from gnomon.stats.intervals import Interval
from gnomon.stats.multiplicity import holm

__all__ = ["Interval", "bootstrap_interval", "holm", "multinomial_weights", "paired_p_values"]
