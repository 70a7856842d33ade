"""What methods that train have beyond `Method`: a folder to resume from, and progress. Knows no objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.contrast import Contrast, PairStates
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
