"""Measure methods on one model and seed: fit, scale without labels, ask. Every finished step is a cell of the run.

Knows methods, dials and questions; what the answers are worth is computed elsewhere, from the cells alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.bench.asking import ask
from gnomon.bench.preference import recovery
from gnomon.bench.settings import Settings
from gnomon.contrast import Contrast, PairStates, read_lines, read_pairs
from gnomon.dials import Dial, Scale, kl_curve, mean_kl, scaled_to_kl, scaled_to_match, turned_down
from gnomon.methods import Trained, named

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from gnomon.lm import LM, Sample
    from gnomon.questions import Questions
    from gnomon.runs import Progress, Run


TURNED_DOWN = "turned-down"
"""The matched strength, lowered until the dial brings about no refusals; only where it brings some."""


@dataclass(frozen=True)
class Strength:
    """One strength of one method's dial: what it is called, the scaled dial, its KL (nats) on neutral text."""

    name: str
    dial: Dial
    kl: float
    answers: pd.DataFrame | None


@dataclass(frozen=True)
class Measured:
    """All that was measured of one method: the strengths of the tables and the points of the KL figure."""

    method: str
    dial: Dial
    strengths: Mapping[str, Strength]
    sweep: tuple[Strength, ...]
    recovery: float | None
    seconds: float

    def strength(self, key: str) -> Strength:
        """The dial at a table's strength; a prompt stands in every table as it is."""
        return self.strengths.get("prompt") or self.strengths[key]

    def usable(self, key: str) -> Strength:
        """The same, but turned down where the matched strength brings about refusals."""
        return (self.strengths.get(TURNED_DOWN) if key == "matched" else None) or self.strength(key)

    @property
    def turned_down(self) -> bool:
        """Whether the matched strength had to be turned down."""
        return TURNED_DOWN in self.strengths


@contextmanager
def counting(progress: Progress, stage: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar of `total` units, moved by callbacks that say how many are done."""
    with progress(stage, total) as advance:
        seen = 0

        def done(so_far: int, _: int) -> None:
            nonlocal seen
            advance(so_far - seen)
            seen = so_far

        yield done


def contrast_of(settings: Settings) -> Contrast:
    """The contrast that the settings name, with templates and suffixes from their files."""
    return Contrast(
        settings.toward,
        settings.away,
        templates=None if settings.templates is None else tuple(read_lines(settings.templates)),
        suffixes=None if settings.suffixes is None else tuple(read_lines(settings.suffixes)),
    )


def read_states(lm: LM, contrast: Contrast, seed: int, progress: Progress) -> PairStates:
    """The residual states of the contrast pairs."""
    pairs = contrast.resolve(lm, seed=seed)
    with counting(progress, "reading contrast pairs", 2 * len(pairs)) as done:
        return read_pairs(lm, pairs, progress=done)


def measure(
    run: Run,
    lm: LM,
    settings: Settings,
    questions: Questions | None,
    *,
    stem: str,
    seed: int,
    progress: Progress,
) -> tuple[PairStates, pd.DataFrame | None, list[Measured]]:
    """Measure every method of the settings; finished cells of `run` below `stem` are loaded, not computed again.

    Returns the pairs' states, the answers without a dial, and what was measured of each method.
    """
    contrast = contrast_of(settings)
    states = read_states(lm, contrast, seed, progress)
    base = None
    if questions is not None:
        base = run.once(
            f"{stem}/answers",
            lambda: _asked(lm, questions, None, (0.0,), "asking the model as it is", progress),
        )
    neutral = lm.sample_neutral(settings.neutral_samples, seed=0)
    measured = [
        _measure_method(
            run, lm, settings, questions, contrast, states, neutral, name, f"{stem}/{name}", seed, progress
        )
        for name in settings.methods
    ]
    return states, base, measured


def _measure_method(
    run: Run,
    lm: LM,
    settings: Settings,
    questions: Questions | None,
    contrast: Contrast,
    states: PairStates,
    neutral: Sequence[Sample],
    name: str,
    stem: str,
    seed: int,
    progress: Progress,
) -> Measured:
    folder = run.folder / "dials" / stem.replace("/", "-")
    method = named(name, settings.method_settings.get(name))

    def fit() -> dict[str, Any]:
        start = time.process_time()
        if isinstance(method, Trained):
            training = run.folder / "training" / stem.replace("/", "-")
            dial = method.fit(lm, contrast, seed=seed, states=states, folder=training, progress=progress)
        else:
            dial = method.fit(lm, contrast, seed=seed, states=states)
        dial.save(folder)
        seconds = time.process_time() - start
        matched = None if dial.is_prompt else scaled_to_match(dial, lm, states)
        return {"seconds": seconds, "recovery": None if matched is None else recovery(lm, matched, states)}

    fitted = run.once(f"{stem}/fit", fit)
    dial = Dial.load(folder).bound(lm)

    def strengths() -> dict[str, Any]:
        with progress(f"scaling {name}", None):
            return {
                key: dict(vars(scale)) for key, scale in _scales(dial, lm, settings, states, neutral).items()
            }

    scales = {key: Scale(**fields) for key, fields in run.once(f"{stem}/strengths", strengths).items()}

    def at(key: str, scale: Scale) -> Strength:
        scaled = dial.rescaled(scale)
        answers = None
        if questions is not None:
            label = "" if dial.is_prompt else f" ({key})"
            answers = run.once(
                f"{stem}/answers/{key}",
                lambda: _asked(lm, questions, scaled, (1.0, -1.0), f"asking with {name}{label}", progress),
            )
        return Strength(key, scaled, float("nan") if scale.kl is None else scale.kl, answers)

    named_strengths = {key: at(key, scale) for key, scale in scales.items() if not key.startswith("sweep")}
    sweep = [at(key, scale) for key, scale in scales.items() if key.startswith("sweep")]
    return Measured(
        method=method.name,
        dial=dial,
        strengths=named_strengths,
        sweep=tuple(sorted([*sweep, *named_strengths.values()], key=lambda strength: strength.kl)),
        recovery=fitted["recovery"],
        seconds=fitted["seconds"],
    )


def _scales(
    dial: Dial, lm: LM, settings: Settings, states: PairStates, neutral: Sequence[Sample]
) -> dict[str, Scale]:
    """The scales of the tables and of the figure, each with the KL that it was measured to have.

    A prompt has one strength, at the KL that it happens to have, and stands under it in every table.
    """
    if dial.is_prompt:
        kl = float(mean_kl(dial, lm, neutral)[0])
        return {"prompt": Scale("prompt", 1.0, True, kl)}
    # The figure's points are placed and measured on a quarter of the text; the tables' strengths on all of it.
    curve = kl_curve(dial, lm, sorted({*settings.sweep, settings.kl}), neutral[: max(16, len(neutral) // 4)])
    scales: dict[str, Scale] = {}
    if "matched" in settings.strengths:
        scales["matched"] = _known(scaled_to_match(dial, lm, states).scale)
        lower = _known(turned_down(dial.rescaled(scales["matched"]), lm, states).scale)
        if lower.factor != scales["matched"].factor:
            scales[TURNED_DOWN] = lower
    if "native" in settings.strengths:
        scales["native"] = Scale("native", 1.0)
    if scales:
        kls = mean_kl(dial, lm, neutral, [scale.factor for scale in scales.values()])
        scales = {
            key: replace(scale, kl=float(kl)) for (key, scale), kl in zip(scales.items(), kls, strict=True)
        }
    if "kl" in settings.strengths:
        scales["kl"] = _known(scaled_to_kl(dial, lm, settings.kl, neutral=neutral, curve=curve).scale)
    for index, (factor, kl) in enumerate(zip(curve.factors, curve.kl, strict=True)):
        near_headline = "kl" in scales and abs(np.log(kl / settings.kl)) < 0.2
        if not near_headline:
            scales[f"sweep-{index}"] = Scale("kl", float(factor), True, float(kl))
    return scales


def _known(scale: Scale | None) -> Scale:
    if scale is None:
        raise TypeError("a scaled dial always records its scale")
    return scale


def _asked(
    lm: LM,
    questions: Questions,
    dial: Dial | None,
    alphas: Sequence[float],
    stage: str,
    progress: Progress,
) -> pd.DataFrame:
    with counting(progress, stage, len(questions) * len(alphas)) as done:
        return ask(lm, questions, dial, alphas, progress=done)
