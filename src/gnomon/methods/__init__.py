"""How to find a dial: one file per family. Every method has `fit(lm, contrast, seed=..., states=...) -> Dial`.

A method knows contrast pairs and residual states. It never sees a question, an answer or a label; `supervised`, the
ceiling, is the one exception and is marked so. How strong a dial is turned and what it is worth is decided elsewhere, the
same way for all.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from gnomon.errors import UsageError
from gnomon.methods.act_add import ActAdd
from gnomon.methods.antipasto import CODE, PAPER, PUBLISHED, AntiPaSTO
from gnomon.methods.baselines import BASELINES
from gnomon.methods.configured import configured
from gnomon.methods.mean_difference import MeanDifference
from gnomon.methods.pca import PCA
from gnomon.methods.probe import LogisticProbe
from gnomon.methods.prompting import EngineeredPrompting, Prompting
from gnomon.methods.random_direction import RandomDirection
from gnomon.methods.shift import Shift
from gnomon.methods.supervised import Supervised
from gnomon.methods.trained import Trained

if TYPE_CHECKING:
    from gnomon.contrast import Contrast, PairStates
    from gnomon.dials import Dial
    from gnomon.lm import LM


class Method(Protocol):
    """Anything that finds a dial; a function of this shape wrapped in an object enters the same bench."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def fit(
        self, lm: "LM", contrast: "Contrast", *, seed: int = 0, states: "PairStates | None" = None
    ) -> "Dial":
        """A dial at its native scale."""
        ...


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "prompting": Prompting(),
        "engineered-prompting": EngineeredPrompting(),
        "mean-difference": MeanDifference(),
        "pca": PCA(),
        "probe": LogisticProbe(),
        "act-add": ActAdd(),
        "shift": Shift(),
        **{preset.name: preset for preset in (CODE, PAPER, PUBLISHED)},
        "random": RandomDirection(),
        **{baseline.name: baseline for baseline in BASELINES},
        "supervised": Supervised(),
    }
)
"""The names that the command line knows, in the order of the tables."""


def named(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """The method of this name, with these fields of its dataclass in place of its own.

    Raises `UsageError`, which lists what there is, for a name, a field or a value that cannot be.
    """
    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}; choose from {', '.join(METHODS)}")
    return configured(name, METHODS[name], settings) if settings else METHODS[name]


__all__ = [
    "METHODS",
    "PCA",
    "ActAdd",
    "AntiPaSTO",
    "EngineeredPrompting",
    "LogisticProbe",
    "MeanDifference",
    "Method",
    "Prompting",
    "RandomDirection",
    "Shift",
    "Supervised",
    "Trained",
    "named",
]
