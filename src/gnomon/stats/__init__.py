"""Clustered and paired bootstrap, exact intervals, multiplicity, coverage. Knows nothing of models."""

from gnomon.stats.exact import clopper_pearson, coverage, jeffreys, mcnemar, t_interval, wilson
from gnomon.stats.intervals import Interval
from gnomon.stats.means import Paired, cluster_mean, interval, paired, paired_difference
from gnomon.stats.multiplicity import holm
from gnomon.stats.resampling import Bootstrap, Limits, bootstrap, cluster_sums, mean_of

__all__ = [
    "Bootstrap",
    "Interval",
    "Limits",
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
    "paired",
    "paired_difference",
    "t_interval",
    "wilson",
]
