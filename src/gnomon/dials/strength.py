"""Fair strength, set without labels: by KL on neutral text, or matched to the shift that the words themselves cause.

Knows dials, a model and contrast pairs; sees no question and no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch.nn.functional import kl_div

from gnomon.dials.dial import Dial, Scale
from gnomon.errors import Failure, UsageError

if TYPE_CHECKING:
    from gnomon.contrast import PairStates
    from gnomon.lm import LM, Progress, Sample

LIMIT = 64.0
"""A dial is turned up to this many times its native scale in search of a strength; then it stands where it got."""
NOTABLE_REFUSAL = 0.01
"""A mean probability of refusal on plain suffixes that rises by more is a refusal that the dial brings about."""
SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)
TOLERANCE = 0.01
"""A strength is reached when it is within this share of what was asked."""
_COARSE = tuple(2.0**power for power in (-4, -2, -1, 0, 1, 2, 4))


@dataclass(frozen=True)
class KLCurve:
    """Mean next-token KL (nats) of a dial at several multiples of its scale: `factors` `[n]`, `kl` `[n]`, ascending."""

    factors: Float[np.ndarray, "n"]
    kl: Float[np.ndarray, "n"]

    def factor_for(self, kl: float) -> float:
        """The factor at which the curve first reaches `kl`, straight in log-log; extended by its end slopes."""
        logs = np.log(np.maximum(np.maximum.accumulate(self.kl), 1e-12))
        steps, wanted = np.log(self.factors), np.log(kl)
        if len(logs) == 1:
            return float(self.factors[0] * np.exp((wanted - logs[0]) / 2))
        after = int(np.clip(np.searchsorted(logs, wanted), 1, len(logs) - 1))
        rise = logs[after] - logs[after - 1]
        # A flat stretch says nothing about where the budget is met: go on by KL ~ factor^2.
        slope = rise / (steps[after] - steps[after - 1]) if rise > 1e-3 else 2.0
        anchor = after if wanted > logs[after] else after - 1
        return float(np.exp(steps[anchor] + (wanted - logs[anchor]) / slope))

    def nearest(self, kl: float) -> int:
        """The place of the point whose KL is nearest to `kl`, in log."""
        return int(np.abs(np.log(np.maximum(self.kl, 1e-12) / kl)).argmin())

    def with_point(self, factor: float, kl: float) -> KLCurve:
        """The curve with one point more."""
        order = np.argsort([*self.factors, factor])
        return KLCurve(np.append(self.factors, factor)[order], np.append(self.kl, kl)[order])

    def through(self, factor: float, kl: float) -> KLCurve:
        """The curve raised or lowered as a whole (in log) so that it passes through this point."""
        steps, logs = np.log(self.factors), np.log(np.maximum(self.kl, 1e-12))
        here = float(np.interp(np.log(factor), steps, logs))
        return KLCurve(self.factors, np.exp(logs + np.log(max(kl, 1e-12)) - here))


def mean_kl(
    dial: Dial,
    lm: LM,
    neutral: Sequence[Sample],
    factors: Sequence[float] = (1.0,),
    *,
    progress: Progress | None = None,
) -> Float[np.ndarray, "factor"]:
    """Mean next-token KL(base || steered) in nats on neutral text at each factor, averaged over both signs.

    All real positions after the first of a sequence count; of a chat model's text, the positions of its own answers. A
    prompt dial is measured behind its prefix, on the same tokens.
    """
    totals = np.zeros((len(factors), 2))
    positions = done = 0
    for batch in lm.sample_batches(neutral):
        base, own = lm.next_log_probs(batch)
        base = base[own]
        for (row, column), alpha in np.ndenumerate(np.multiply.outer(factors, (1.0, -1.0))):
            with dial.at(float(alpha), lm):
                steered = lm.next_log_probs(batch)[0][own]
            # kl_div sums p (log p - log q) with 0 log 0 = 0.
            totals[row, column] += float(kl_div(steered, base, reduction="sum", log_target=True))
        positions += int(own.sum())
        done += len(batch)
        if progress is not None:
            progress(done, len(neutral))
    return np.asarray(totals.mean(axis=1) / positions)


def kl_curve(
    dial: Dial,
    lm: LM,
    budgets: Sequence[float],
    neutral: Sequence[Sample],
    *,
    progress: Progress | None = None,
) -> KLCurve:
    """The dial's KL curve with a point near each budget (nats), measured on this neutral text.

    A coarse pass on a part of the text says where the budgets lie; none is looked for beyond `LIMIT`.
    """
    part = neutral[: max(16, len(neutral) // 4)]
    rough = KLCurve(np.array(_COARSE), mean_kl(dial, lm, part, _COARSE))
    wanted = sorted({_within_limit(rough.factor_for(budget)) for budget in budgets})
    return KLCurve(np.array(wanted), mean_kl(dial, lm, neutral, wanted, progress=progress))


def scaled_to_kl(
    dial: Dial,
    lm: LM,
    kl: float,
    *,
    neutral: Sequence[Sample] | None = None,
    curve: KLCurve | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dial:
    """The dial at a mean KL of `kl` nats on neutral text, within one percent; marked where that is out of reach.

    `curve` may have been measured on less text: it says where to look, and what is found is measured on all of it.
    """
    if not 0 < kl < float("inf"):
        raise UsageError(f"a KL budget is a positive number of nats, not {kl}")
    neutral = neutral if neutral is not None else lm.sample_neutral(seed=seed)
    if dial.is_prompt:
        reached = float(mean_kl(dial, lm, neutral, progress=progress)[0])
        return replace(dial, scale=Scale("prompt", 1.0, True, reached, None))
    curve = curve or kl_curve(dial, lm, [kl / 2, kl, kl * 2], neutral[: max(16, len(neutral) // 4)])
    found = KLCurve(np.array([]), np.array([]))
    factor = _within_limit(curve.factor_for(kl))
    while len(found.factors) < 8:
        found = found.with_point(factor, float(mean_kl(dial, lm, neutral, [factor], progress=progress)[0]))
        near = found.nearest(kl)
        if abs(found.kl[near] / kl - 1) <= TOLERANCE:
            break
        # One point is joined by the curve's own course, moved so that it goes through the point.
        course = found if len(found.factors) > 1 else curve.through(factor, float(found.kl[near]))
        factor = _within_limit(course.factor_for(kl))
        if factor in found.factors:
            break
    near = found.nearest(kl)
    reached_kl = float(found.kl[near])
    if not np.isfinite(reached_kl):
        raise Failure(
            f"the dial {dial.name!r} makes {lm.name} give numbers that are not finite; its edits are too strong"
        )
    reached = abs(reached_kl / kl - 1) <= 2 * TOLERANCE
    return dial.rescaled(Scale("kl", float(found.factors[near]), reached, reached_kl, kl))


def turned_down(dial: Dial, lm: LM, states: PairStates) -> Dial:
    """The dial at the largest share of its scale at which it brings about no refusals.

    On plain validation suffixes the mean probability of a refusal may rise by `NOTABLE_REFUSAL` at most, at +1 and at -1. A
    dial found in a model that refuses its own away words holds some of that refusal; below a threshold it does not act.
    """
    if dial.is_prompt:
        return dial
    plain = states.plain_validation
    at_rest = float(lm.refusal_mass(plain).mean())
    if not np.isfinite(at_rest):  # no refusal fits the vocabulary: there is nothing to go by
        return dial

    def rises(share: float) -> bool:
        with dial.at([sign * share for sign in (1.0, -1.0) for _ in plain], lm):
            mass = lm.refusal_mass([*plain, *plain]).reshape(2, -1).mean(axis=1)
        return bool(mass.max() - at_rest > NOTABLE_REFUSAL)

    share = next((share for share in SHARES if not rises(share)), SHARES[-1])
    before = dial.scale or Scale("custom", 1.0)
    if share == 1:
        return dial
    edits = tuple(edit.scaled(share) for edit in dial.edits)
    return replace(dial, edits=edits, scale=replace(before, factor=before.factor * share, kl=None))


def _within_limit(factor: float) -> float:
    """Six digits, so that a factor comes back as it was written down."""
    return float(f"{min(max(factor, 1 / LIMIT), LIMIT):.6g}")


def scaled_to_match(dial: Dial, lm: LM, states: PairStates, *, progress: Progress | None = None) -> Dial:
    """The dial at which half of its swing from -1 to +1, along the personas' half gap, is as long as that half gap.

    Both are read at the reading block: the dial's on the plain validation suffixes, the personas' on the validation
    pairs. A dial that cannot get there within `LIMIT` times its native scale stands where it got, marked.
    """
    if dial.is_prompt:
        return replace(dial, scale=Scale("prompt", 1.0))
    block = states.reading_block
    gap = states.half_gap(block, validation=True)
    wanted = float(gap.norm())
    unit = gap / wanted

    plain = states.plain_validation

    def swing(factor: float) -> float:
        alphas = [sign * factor for sign in (1.0, -1.0) for _ in plain]
        with dial.at(alphas, lm):
            shifted = lm.residuals([*plain, *plain], blocks=[block], progress=progress)[:, 0]
        n = len(plain)
        return float(((shifted[:n] - shifted[n:]) / 2 @ unit).mean())

    tried: dict[float, float] = {}
    factor = 1.0
    for _ in range(12):
        tried[factor] = swing(factor)
        if abs(tried[factor] / wanted - 1) <= TOLERANCE:
            break
        # The swing grows about in proportion to the factor: a proportional step, kept inside what is bracketed already.
        below = max((f for f, s in tried.items() if s < wanted), default=0.0)
        above = min((f for f, s in tried.items() if s >= wanted and f > below), default=LIMIT)
        step = factor * wanted / tried[factor] if tried[factor] > 0 else LIMIT
        factor = (
            step
            if below < step < above
            else ((below + above) / 2 if above < LIMIT else min(2 * below, LIMIT))
        )
        if factor in tried:
            break
    best = min(tried, key=lambda f: abs(tried[f] - wanted))
    share = tried[best] / wanted
    return dial.rescaled(Scale("matched", best, abs(share - 1) <= 2 * TOLERANCE, None, wanted))
