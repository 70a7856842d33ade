"""What methods that train have beyond `Method`: a folder to resume from, progress, and a look at the suffixes.

Knows no objective.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gnomon.contrast import suffix_diversity

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.contrast import Contrast, Pairs, PairStates
    from gnomon.dials import Dial
    from gnomon.lm import LM
    from gnomon.runs import Progress


@runtime_checkable
class Trained(Protocol):
    """A method whose fit takes long: it keeps checkpoints and events in a folder, and goes on from them."""

    trains: bool

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def fit(
        self,
        lm: LM,
        contrast: Contrast,
        *,
        seed: int = 0,
        states: PairStates | None = None,
        folder: Path | None = None,
        progress: Progress = ...,
    ) -> Dial:
        """A dial at its native scale."""
        ...


def diversity_of(pairs: Pairs) -> float:
    """The effective number of words in the suffixes, for a dial's notes; warns in a sentence where it is low."""
    found = suffix_diversity(pairs.plain)
    if found.warning is not None:
        warnings.warn(found.warning, stacklevel=3)
    return round(found.words, 1)
