"""The bench: every method on every model at the same strength, through the same questions, with intervals.

Names are resolved on first use, so that `gnomon.bench.settings` can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gnomon.bench.settings import ModelSettings, Settings, settings_from

if TYPE_CHECKING:
    from gnomon.bench.asking import ask
    from gnomon.bench.comparing import compare
    from gnomon.bench.estimating import Estimate, estimate
    from gnomon.bench.rows import Rows
    from gnomon.bench.running import bench, steer
    from gnomon.bench.score import Score, difference, yes_bias
    from gnomon.bench.single import steering_f1

_HOMES = {
    "Estimate": "estimating",
    "Rows": "rows",
    "Score": "score",
    "ask": "asking",
    "bench": "running",
    "compare": "comparing",
    "difference": "score",
    "estimate": "estimating",
    "steer": "running",
    "steering_f1": "single",
    "yes_bias": "score",
}

__all__ = [
    "Estimate",
    "ModelSettings",
    "Rows",
    "Score",
    "Settings",
    "ask",
    "bench",
    "compare",
    "difference",
    "estimate",
    "settings_from",
    "steer",
    "steering_f1",
    "yes_bias",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gnomon.bench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gnomon.bench.{_HOMES[name]}"), name)
