"""The calibration: what the instrument reads on models whose values were planted, against what was planted.

Each touchstone is measured once with the settings of the main job; the figures are printed (pytest -s).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gnomon import touchstones
from gnomon.bench import Rows, Settings
from gnomon.bench.asking import ask
from gnomon.bench.asking import labels as labels_of
from gnomon.bench.composing import Seed, tables_of
from gnomon.bench.measure import Strength, measure
from gnomon.bench.opening import open_model, open_questions
from gnomon.bench.readings import Scored, line_of, scored
from gnomon.bench.running import preferred_of
from gnomon.bench.score import difference, score
from gnomon.dials import scaled_to_kl
from gnomon.runs import Run, progress
from gnomon.stats import holm

VECTORS = ("mean difference", "PCA", "probe", "ActAdd")


def measured(name: str, root) -> tuple[dict[str, list[Scored]], str]:
    """Strength -> the lines of its table, and the line that validation prefers."""
    if name not in touchstones.names():
        pytest.fail(f"the touchstone {name} is not packaged")
    settings = Settings(
        model=f"touchstone:{name}",
        strengths=("matched", "kl"),
        sweep=(0.25,),
        neutral_samples=128,
        root=str(root),
    )
    lm = open_model(settings)
    questions = open_questions(settings)
    with Run.create(settings.model_dump(mode="json"), root) as run:
        seed = Seed(*measure(run, lm, settings, questions, stem="t", seed=0, progress=progress))
    labels = labels_of(questions)
    tables = dict(tables_of(settings, labels, [seed]))
    if name == "null":
        tables["forced"] = forced(lm, questions, labels, seed)
    for key, lines in tables.items():
        show(f"{name}, {key}", lines)
    preferred = preferred_of(seed.measured)
    return tables, line_of(preferred.method, preferred.turned_down)


def forced(lm, questions, labels, seed: Seed) -> list[Scored]:
    """Every direction at a KL of 0.25 that it really has.

    Where nothing is planted, half the personas' gap is next to nothing, and sixty-four times of it still is: here every
    direction first gets the length of the residual stream itself.
    """
    length = float(seed.states.toward[:, seed.states.reading_block].norm(dim=1).mean())
    neutral = lm.sample_neutral(128, seed=0)
    lines = []
    for one in seed.measured:
        dial = one.dial
        if not dial.is_prompt:
            dial = scaled_to_kl(
                (length / float(dial.edits[0].vector.norm())) * dial, lm, 0.25, neutral=neutral
            )
            assert dial.scale.reached, one.method
            assert dial.scale.kl == pytest.approx(0.25, rel=0.02)
        strength = Strength("forced", dial, 0.25, ask(lm, questions, dial, (1.0, -1.0)))
        lines.append(scored(one.method, [strength], labels, seed.base, 2000))
    return lines


def by_method(lines: list[Scored]) -> dict[str, Scored]:
    return {line.method: line for line in lines}


def show(name: str, lines: list[Scored]) -> None:
    print(f"\n{name}")
    for line in lines:
        one = line.seeds.scores[0]
        print(f"  {line.method:22s} {line.interval}  +1 {one.toward.f1:.0f}  -1 {one.away.f1:.0f}")


def test_honesty_prompting_the_controls_and_the_preferred_dial(tmp_path) -> None:
    tables, preferred = measured("honesty", tmp_path)
    lines = by_method(tables["matched"])
    assert lines["prompting"].interval.estimate >= 97
    assert lines["none"].interval.estimate == 0
    assert lines["random"].interval.estimate <= 5
    assert lines[preferred].interval.low > 0
    for control in ("random", "yes-bias (control)"):
        assert difference(lines[preferred].rows, lines[control].rows).interval.low > 0


def test_guarded_a_dial_gets_past_the_refusal_that_stops_a_prompt(tmp_path) -> None:
    tables, preferred = measured("guarded", tmp_path)
    lines = by_method(tables["matched"])
    prompt = lines["prompting"].seeds.scores[0]
    print(f"  prompting away {prompt.away.f1:.0f}, refusal mass at -1 {prompt.refusal_mass['-1']:.3f}")
    assert prompt.away.f1 < 0
    assert prompt.refusal_mass["-1"] >= 0.9
    gain = difference(lines[preferred].rows, lines["prompting"].rows).interval
    print(f"  {preferred} over prompting: {gain}")
    assert gain.low > 0


def test_null_no_method_is_above_zero_and_a_planted_effect_is(tmp_path) -> None:
    tables, _ = measured("null", tmp_path)
    for lines in tables.values():
        methods = [line for line in lines if line.method not in ("none", "yes-bias (control)")]
        adjusted = holm([line.seeds.scores[0].p_above_zero for line in methods])
        assert min(adjusted) > 0.05, dict(zip([line.method for line in methods], adjusted, strict=True))
        planted = [score(plant(line.rows[0], 20.0)) for line in methods]
        again = holm([one.p_above_zero for one in planted])
        for line, one, p in zip(methods, planted, again, strict=True):
            print(f"  planted into {line.method}: {one.interval}, p {p:.4f}")
            assert p < 0.05
            assert one.interval.low > 0


def plant(rows: Rows, points: float) -> Rows:
    """The same answers, with so many target rows answered as asked on each side that the score rises by `points`."""
    wanted = max(score(rows).f1, 0.0) + points if np.isfinite(score(rows).f1) else points
    random = np.random.default_rng(0)
    order = random.permutation(np.flatnonzero(rows.target))
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if score(_answered_as_asked(rows, order[:middle]), resamples=200).f1 < wanted:
            low = middle + 1
        else:
            high = middle
    return _answered_as_asked(rows, order[:low])


def _answered_as_asked(rows: Rows, chosen: np.ndarray) -> Rows:
    log_odds, mass = rows.log_odds.copy(), rows.choice_mass.copy()
    for index, side in ((1, 1), (2, -1)):
        log_odds[index, chosen] = side * rows.label[chosen] * 2.0
        mass[index, chosen] = mass[0, chosen]
    return dataclasses.replace(rows, log_odds=log_odds, choice_mass=mass)
