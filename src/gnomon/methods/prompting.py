"""Prompting: the persona said in words before the prompt; the baseline that every dial has to face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.contrast import Contrast, PairStates
from gnomon.dials import Dial, Prefix

if TYPE_CHECKING:
    from gnomon.lm import LM


@dataclass(frozen=True)
class Prompting:
    """The contrast's first persona template, in front of every prompt."""

    name = "prompting"

    def fit(self, lm: LM, contrast: Contrast, *, seed: int = 0, states: PairStates | None = None) -> Dial:
        """A dial with two positions, +1 and -1; it reads no states."""
        toward, away = contrast.resolve(lm, seed=seed).personas[0]
        return _prompt_dial(lm, contrast, toward, away, self.name)


@dataclass(frozen=True)
class EngineeredPrompting:
    """A persona that is spelt out at length: every persona template of the contrast, one after the other."""

    name = "engineered prompting"

    def fit(self, lm: LM, contrast: Contrast, *, seed: int = 0, states: PairStates | None = None) -> Dial:
        """A dial with two positions, +1 and -1; it reads no states."""
        personas = contrast.resolve(lm, seed=seed).personas
        toward, away = (" ".join(pair[side] for pair in personas) for side in (0, 1))
        return _prompt_dial(lm, contrast, toward, away, self.name)


def _prompt_dial(lm: LM, contrast: Contrast, toward: str, away: str, name: str) -> Dial:
    dial = Dial(
        (Prefix(toward, away),), name=name, words=(contrast.toward, contrast.away), notes={"method": name}
    )
    return dial.bound(lm)
