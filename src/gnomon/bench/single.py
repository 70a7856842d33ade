"""One dial, one set of questions, one Reading: the score for those who already hold a dial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.bench import readings, words
from gnomon.bench.asking import ask, labels
from gnomon.bench.measure import Strength
from gnomon.runs import Reading

if TYPE_CHECKING:
    from gnomon.dials import Dial
    from gnomon.lm import LM
    from gnomon.questions import Questions


def steering_f1(lm: LM, dial: Dial, questions: Questions, *, resamples: int = 2000) -> Reading:
    """Ask the questions with the dial at 0, +1 and -1, as it is scaled, and score the answers.

    The Reading's headline is Steering F1 in percent with its 95 % interval over clusters of questions.
    """
    known = labels(questions)
    base = ask(lm, questions)
    kl = float("nan") if dial.scale is None or dial.scale.kl is None else dial.scale.kl
    strength = Strength("given", dial, kl, ask(lm, questions, dial, (1.0, -1.0)))
    bias = readings.bias_line(known, base, resamples)
    line = readings.scored(dial.name, [strength], known, base, resamples)
    word = dial.words[0] if dial.words else "turned"
    return Reading(
        name="steering_f1",
        title=f"Steering F1 of {dial.name}",
        headline=line.interval,
        sentence=words.sentence(word, line, bias, known, ["KL on neutral text"] if kl != kl else []),
        table=readings.table_of([line, bias], bias, resamples),
        columns=readings.columns(1),
        notes=(f"Scale of the dial: {dial.scale}.", *questions.notes),
    )
