"""gnomon: an instrument bench for the values inside language models.

Names are resolved on first use, so that `import gnomon` costs nothing and `gnomon --help` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnomon import (
        bench,
        contrast,
        dials,
        lm,
        methods,
        questions,
        report,
        runs,
        stats,
        touchstones,
        worlds,
    )
    from gnomon.contrast import Contrast
    from gnomon.dials import AddVector, Dial, LowRank, Prefix
    from gnomon.lm import LM, Chat
    from gnomon.runs import Reading, Run

__version__ = "0.1.0"

_ROOMS = (
    "bench",
    "contrast",
    "dials",
    "lm",
    "methods",
    "questions",
    "report",
    "runs",
    "stats",
    "touchstones",
    "training",
    "worlds",
)
_HOMES = {
    "AddVector": "dials",
    "Chat": "lm",
    "Contrast": "contrast",
    "Dial": "dials",
    "LM": "lm",
    "LowRank": "dials",
    "Prefix": "dials",
    "Reading": "runs",
    "Run": "runs",
}

__all__ = [
    "LM",
    "AddVector",
    "Chat",
    "Contrast",
    "Dial",
    "LowRank",
    "Prefix",
    "Reading",
    "Run",
    "bench",
    "contrast",
    "dials",
    "lm",
    "methods",
    "questions",
    "report",
    "runs",
    "stats",
    "touchstones",
    "worlds",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"gnomon.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"gnomon.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gnomon' has no attribute {name!r}")
