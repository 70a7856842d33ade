"""Clustered and paired bootstrap, exact intervals, multiplicity, coverage. Knows nothing of models."""

from gnomon.stats.exact import clopper_pearson, coverage, jeffreys, mcnemar, t_interval, wilson
from gnomon.stats.intervals import Interval
from gnomon.stats.multiplicity import holm
from gnomon.stats.resampling import (
    Bootstrap,
    Paired,
    bootstrap,
    cluster_mean,
    cluster_sums,
    interval,
    mean_of,
    paired_difference,
)

__all__ = [
    "Bootstrap",
    "Interval",
    "Paired",
    "bootstrap",
    "clopper_pearson",
    "cluster_mean",
    "cluster_sums",
    "coverage",
    "holm",
    "interval",
    "jeffreys",
    "mcnemar",
    "mean_of",
    "paired_difference",
    "t_interval",
    "wilson",
]
