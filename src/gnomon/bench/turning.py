"""A few questions with the dial at several coefficients, as they are and behind a persona.

Asked once, as a cell of the run; the words and the pictures follow from that table alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gnomon.bench.asking import ask
from gnomon.bench.measure import contrast_of
from gnomon.contrast import fill
from gnomon.lm import Chat
from gnomon.report import figures
from gnomon.runs import Generation, Reading, number

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.bench.settings import Settings
    from gnomon.dials import Dial
    from gnomon.lm import LM, Prompt
    from gnomon.questions import Question, Questions

ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0)
PROMPT_ALPHAS = (-1.0, 0.0, 1.0)
OPENINGS = ("Tell me about your day.", "What should I do if I break something that is not mine?")
"""What is continued where there are no questions and no examples were given."""
AS_IT_IS = "as it is"
_ROOM = 22
"""Letters that the two ends of a bar have together."""


@dataclass(frozen=True)
class Shown:
    """One prompt of the page: a question behind a persona (empty: none), or an opening without answers (no question)."""

    prompt: Prompt
    question: Question | None = None
    persona: str = ""
    side: str = ""


def choose(settings: Settings, questions: Questions | None, lm: LM) -> list[Shown]:
    """Three questions, each as it is and behind a persona of both sides; then the examples that the settings give.

    The questions are the first target that the toward word answers with the first class, the first of another cluster that
    it answers with the second, and the first control. Each stands behind another of the contrast's templates.
    """
    shown = []
    templates, _ = contrast_of(settings).lists(lm)
    for place, question in enumerate(_three(questions) if questions is not None else []):
        shown.append(Shown(question.prompt, question))
        for word in (settings.toward, settings.away):
            persona = fill(templates[place % len(templates)], word)
            shown.append(Shown(behind(persona, question.prompt, lm), question, persona, word))
    openings = settings.examples or (() if shown else OPENINGS)
    return [*shown, *(Shown(opening) for opening in openings)]


def behind(persona: str, prompt: Prompt, lm: LM) -> Chat:
    """The prompt with a persona before it, where a prompt dial would put it."""
    chat = prompt if isinstance(prompt, Chat) else Chat(prompt)
    return replace(chat, user=f"{persona}\n\n{chat.user}" if lm.is_chat else f"{persona} {chat.user}")


def turned(lm: LM, dial: Dial, shown: Sequence[Shown], max_new_tokens: int) -> pd.DataFrame:
    """What the model answers and writes: a row per prompt and coefficient.

    Columns: place (in `shown`), alpha, log_odds (nats), choice_mass, refusal_mass (NaN without a question), text.
    """
    import pandas as pd

    alphas = PROMPT_ALPHAS if dial.is_prompt else ALPHAS
    prompts = [one.prompt for one in shown]
    with dial.at([alpha for alpha in alphas for _ in prompts], lm):
        texts = lm.generate(prompts * len(alphas), max_new_tokens=max_new_tokens)
    written = pd.DataFrame(
        {
            "place": list(range(len(prompts))) * len(alphas),
            "alpha": np.repeat(alphas, len(prompts)),
            "text": texts,
        }
    )
    asked = [
        (place, replace(one.question, prompt=one.prompt)) for place, one in enumerate(shown) if one.question
    ]
    if not asked:
        return written.assign(log_odds=np.nan, choice_mass=np.nan, refusal_mass=np.nan)
    answers = ask(lm, [question for _, question in asked], dial, alphas)
    answers["place"] = answers.question.map(dict(enumerate(place for place, _ in asked)))
    return written.merge(answers.drop(columns="question"), on=["place", "alpha"], how="left")


def reading(
    shown: Sequence[Shown], table: pd.DataFrame, dial: str, words: tuple[str, str], command: str
) -> Reading:
    """The section of the report; `dial` names the dial, and `command` turns it by hand (empty: none was kept)."""
    drawn, generations = {}, []
    reach = _reach(table)
    for place, one in enumerate(shown):
        own = table[table.place == place]
        texts = dict(zip(map(signed, own.alpha), own.text, strict=True))
        if one.question is None:
            generations.append(Generation(_text(one.prompt), texts))
            continue
        name = f"question-{place}"
        drawn[name] = _bars(one, one.question, own, words[0], reach)
        variant = f"behind “{one.persona}”" if one.persona else AS_IT_IS
        generations.append(Generation(variant, texts, figure=name, group=_text(one.question.prompt)))
    toward, away = words
    return Reading(
        name="examples",
        title="Turn it yourself",
        sentence=(
            f"The dial of {dial} from {away} (−1) to {toward} (+1): what the model answers and how it goes on."
            + _refusals(shown, table, words)
        ),
        figures=drawn,
        generations=tuple(generations),
        notes=(*(_NOTES if drawn else ()), *([f"By hand: {command}"] if command else ())),
    )


_NOTES = (
    "A bar is the log-odds of the two answers, in nats; it is coloured where the answer is that of the toward word, and "
    "hollow where a refusal is likelier than both answers together.",
    "choice: probability of either answer; refusal: probability of a packaged refusal.",
)


def signed(alpha: float) -> str:
    """A coefficient with its sign: −1, 0, +0.5."""
    return number(alpha) if alpha <= 0 else f"+{number(alpha)}"


def _three(questions: Questions) -> list[Question]:
    targets = list(questions.targets)
    first = next((question for question in targets if question.label == 1), None)
    second = next(
        (q for q in targets if q.label == -1 and (first is None or q.cluster != first.cluster)), None
    )
    return [question for question in (first, second, *questions.controls[:1]) if question is not None]


def _bars(one: Shown, question: Question, own: pd.DataFrame, toward: str, reach: float) -> figures.Figure:
    """The log-odds at every coefficient, coloured where they are as the toward word asks."""
    refused = own.refusal_mass > own.choice_mass
    return figures.two_sided(
        [signed(alpha) for alpha in own.alpha],
        own.log_odds,
        title=f"Log-odds of {' over '.join(question.classes)}, {one.persona or AS_IT_IS}",
        ends=_ends(question, toward),
        columns={"log-odds": own.log_odds, "choice": own.choice_mass, "refusal": own.refusal_mass},
        accent=list(((question.label or 0) * own.log_odds > 0) & ~refused),
        hollow=list(refused),
        reach=reach,
    )


def _reach(table: pd.DataFrame) -> float:
    """The longest bar of all that were answered, at least a nat, so that bars of different figures compare."""
    answered = table.log_odds[~(table.refusal_mass > table.choice_mass) & np.isfinite(table.log_odds)]
    return float(max([1.0, *answered.abs()]))


def _ends(question: Question, toward: str) -> tuple[str, str]:
    """What the two ends of the bars mean: the second class is on the left, where the log-odds are negative.

    The toward word's answer is marked where there is room for it; the colour says it anyway.
    """
    names = [name if len(name) <= _ROOM // 2 else f"{name[: _ROOM // 2 - 1]}…" for name in question.classes]
    marked = [
        f"{name} ({toward})" if question.label == label else name
        for name, label in zip(names, (1, -1), strict=True)
    ]
    right, left = marked if sum(map(len, marked)) <= _ROOM else names
    return f"← {left}", f"{right} →"


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt.user


def _refusals(shown: Sequence[Shown], table: pd.DataFrame, words: tuple[str, str]) -> str:
    """Which questions are refused without the dial, and whether it brings an answer out; empty where none is."""
    refuses = table.refusal_mass > table.choice_mass
    refused_at_0 = set(table.place[refuses & (table.alpha == 0)])
    somewhere_not = set(table.place[~refuses])
    found = []
    for side in ("", *words):
        places = [place for place, one in enumerate(shown) if one.question is not None and one.side == side]
        refused = refused_at_0.intersection(places)
        if refused:
            answered = len(refused & somewhere_not)
            where = f"behind a persona that is {side}" if side else "as they are"
            found.append(
                f"{len(refused)} of {len(places)} questions {where} (somewhere on the dial it answers {answered})"
            )
    return f" At 0 it refuses {', '.join(found)}." if found else ""
