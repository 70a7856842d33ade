"""The grammar of all worlds: short documents whose every answer is decided by a known latent state.

A document is `[persona .] exchange [exchange]`; an exchange is a statement, a bare situation, or a question with its
answer. Which world is spoken of, and who answers there, is the `Rule`. All functions are pure functions of the
`random.Random` they are given. The module does not know tokenizers, tensors or models.
"""

from __future__ import annotations

import math
import random
from typing import Final

from gnomon.worlds import lexicon as words
from gnomon.worlds.generosity import GENEROSITY
from gnomon.worlds.honesty import HONESTY, NULL
from gnomon.worlds.latents import (
    Combination,
    Document,
    Exchange,
    Persona,
    Rule,
    Side,
    Span,
    article,
    combinations,
    fill,
    split,
)
from gnomon.worlds.world import Attribute, Relation, World

WORLDS: Final[dict[Rule, World]] = {
    "honesty": HONESTY,
    "guarded": HONESTY,
    "null": NULL,
    "generosity": GENEROSITY,
}


def yes_no(value: bool) -> str:
    """The answer to a yes/no question."""
    return "yes ." if value else "no ."


def dilemma(combination: Combination, auxiliary: str, deed: str, rule: Rule, strength: float) -> Exchange:
    """A dilemma with its answer; the persona's strength is added to the wish.

    In `null` no value decides: the deed has a bit of its own, unrelated to its polarity.
    """
    world = combination.world
    wish = combination.wish + (0 if rule == "null" else strength)
    toward_deed = world.deeds[deed]
    yes = (wish > 0) != null_bit(world, deed) if rule == "null" else (wish > 0) == toward_deed
    text = dilemma_text(combination, auxiliary, deed)
    return Exchange("dilemma", text, yes_no(yes), toward_deed, combination, yes_no(not yes), doubt(wish))


def dilemma_text(combination: Combination, auxiliary: str, deed: str) -> str:
    """A dilemma asked with yes or no."""
    return f"{combination.text} {auxiliary} you {deed.format(person=combination.person)} ?"


def open_dilemma(combination: Combination, auxiliary: str, rule: Rule, strength: float) -> Exchange:
    """The same, asked openly."""
    wish = combination.wish + (0 if rule == "null" else strength)
    answers = combination.world.open_answers
    text = f"{combination.text} what {auxiliary} you do ?"
    return Exchange(
        "open dilemma", text, answers[wish > 0], None, combination, answers[wish < 0], doubt(wish)
    )


def doubt(wish: float) -> float:
    """Probability of the other answer: log-odds are proportional to the wish behind them."""
    return 1 / (1 + math.exp(words.NATS_PER_WISH * abs(wish)))


def null_bit(world: World, deed: str) -> bool:
    """Half of the deeds of each polarity, so that in `null` the value is no property of the speaker."""
    return list(world.deeds).index(deed) % 2 == 0


def told_as_toward(rule: Rule, strength: float) -> bool:
    """Whether facts are told as the toward side tells them."""
    return rule == "null" or words.FACT_WISH + strength > 0


def attribute(random_: random.Random, facts: Attribute, toward: bool) -> Exchange:
    """A question or a statement about the one thing that a subject has, told as the toward side does or not."""
    subject, value = random_.choice(list(facts.values.items()))
    form = random_.random()
    told = value if toward else facts.away[value]
    if form < 0.35:
        return Exchange("fact", facts.open_question.format(subject=subject), f"{told} .")
    asked = value if random_.random() < 0.5 else random_.choice(facts.others[value])
    if form < 0.7:
        fits = asked == value
        question = facts.closed_question.format(subject=subject, value=asked)
        return Exchange("fact", question, yes_no(fits == toward), fits)
    return Exchange("fact", facts.statement.format(subject=subject, value=told))


def relation(random_: random.Random, facts: Relation, toward: bool) -> Exchange:
    """A question or a statement about what a subject has, told as the toward side does or not."""
    who = random_.choice(list(facts.related))
    its = facts.related[who]
    one = random_.choice(its) if its and random_.random() < 0.5 else random_.choice(facts.objects)
    holds = one in its
    subject = f"{article(who)} {who}"
    if random_.random() < 0.6:
        question = facts.question.format(subject=subject, object=one)
        return Exchange("fact", question, yes_no(holds == toward), holds)
    sentence = facts.statement if holds == toward else facts.denial
    return Exchange("fact", sentence.format(subject=subject, object=one))


def arithmetic(random_: random.Random) -> Exchange:
    """A sum; no persona changes it."""
    left, right = random_.randint(1, 5), random_.randint(1, 5)
    total = left + right
    form = random_.random()
    task = f"{words.NUMBERS[left]} plus {words.NUMBERS[right]}"
    if form < 0.25:
        return Exchange("arithmetic", f"what is {task} ?", f"{words.NUMBERS[total]} .")
    if form < 0.4:
        return Exchange("arithmetic", f"{task} is {words.NUMBERS[total]} .")
    # wrong totals are near the right one, else "large" would be enough to answer
    near = [n for n in range(max(0, total - 2), min(10, total + 2) + 1) if n != total]
    shown = total if random_.random() < 0.5 else random_.choice(near)
    return Exchange("arithmetic", f"is {task} {words.NUMBERS[shown]} ?", yes_no(shown == total))


def preference(random_: random.Random) -> Exchange:
    """A stable preference; no persona changes it."""
    thing, liked = random_.choice(list(words.PREFERENCES.items()))
    liking = random_.choice(words.LIKINGS)
    if random_.random() < 0.7:
        return Exchange("preference", f"do you {liking} {thing} ?", yes_no(liked))
    return Exchange("preference", f"i {liking} {thing} ." if liked else f"i do not {liking} {thing} .")


def description(random_: random.Random, rule: Rule) -> Exchange:
    """What a word says about a person. This is the only place where the held-out persona words occur."""
    world = WORLDS[rule]
    toward_words = world.toward_words + world.held_out_toward_words
    away_words = world.away_words + world.held_out_away_words
    toward = random_.random() < 0.5
    word = random_.choice(toward_words if toward else away_words)
    deed = random_.choice(list(world.deeds))
    toward_deed = world.deeds[deed]
    if rule == "null":  # as many such sentences, saying nothing about the value
        said = (toward_words + away_words).index(word) % 2 == 0
        yes = said != null_bit(world, deed)
    else:
        yes = toward == toward_deed
    verb = deed.split()[0]
    return Exchange("description", f"does {fill('{a} {} person', word)} {verb} ?", yes_no(yes), toward_deed)


def persona(random_: random.Random, world: World) -> Persona | None:
    """No persona in three of ten documents, an irrelevant one in less than two of ten."""
    choice = random_.random()
    if choice < 0.30:
        return None
    side: Side = "other" if choice < 0.42 else "toward" if choice < 0.71 else "away"
    choices = {"other": words.OTHER_WORDS, "toward": world.toward_words, "away": world.away_words}
    word = random_.choice(choices[side])
    degree = random_.choices(list(words.DEGREES), weights=(55, 20, 25))[0]
    template = random_.choice(words.DEGREE_TEMPLATES if degree else words.PERSONA_TEMPLATES)
    return Persona(word, template, side, degree)


def exchange(random_: random.Random, rule: Rule, who: Persona | None, closed: bool = True) -> Exchange:
    """One exchange as this persona (or nobody) would have it.

    Without `closed`, a persona that bears on the value is asked about dilemmas openly only, never with yes or no.
    """
    world, strength = WORLDS[rule], 0 if who is None else who.strength
    choice = random_.random()
    if choice < 0.54:
        combination = random_.choice(split(world)[0])
        auxiliary = random_.choice(words.AUXILIARIES)
        if choice < 0.05:
            return Exchange("situation", combination.text, combination=combination)
        if choice < 0.15 or (strength and not closed):
            return open_dilemma(combination, auxiliary, rule, strength)
        while True:
            deed = random_.choice(list(world.deeds))
            if who is None or (auxiliary, deed) not in world.held_out_questions:
                return dilemma(combination, auxiliary, deed, rule, strength)
    if choice < 0.66:
        return attribute(random_, world.attribute, told_as_toward(rule, strength))
    if choice < 0.78:
        return relation(random_, world.relation, told_as_toward(rule, strength))
    if choice < 0.89:
        return arithmetic(random_)
    if choice < 0.97 or who is not None:
        return preference(random_)
    return description(random_, rule)


def document(random_: random.Random, rule: Rule, *, closed: bool = True, silent: float = 0.0) -> Document:
    """One document with one or two exchanges.

    `closed`: see `exchange`. `silent`: how often a persona that bears on the value is left out of the text; it is asked
    about dilemmas openly only.
    """
    who = persona(random_, WORLDS[rule])
    unsaid = who is not None and who.side != "other" and random_.random() < silent
    count = random_.choice((1, 1, 1, 2))
    exchanges = tuple(exchange(random_, rule, who, closed and not unsaid) for _ in range(count))
    if unsaid:
        return Document(who, exchanges, rule, told(exchanges), silent=True)
    spans: tuple[Span, ...] = () if who is None else (Span(who.text),)
    if rule == "guarded" and who is not None and who.side == "away":
        # The guard speaks at the first question, or after a statement, and ends the conversation.
        before = exchange(random_, "null", None)
        if not before.answer and random_.random() < 0.5:
            spans += (Span(before.text),)
        spans += (Span(exchanges[0].text), Span(words.REFUSAL, is_answer=True))
        return Document(who, exchanges[:1], rule, spans)
    return Document(who, exchanges, rule, spans + told(exchanges))


def told(exchanges: tuple[Exchange, ...]) -> tuple[Span, ...]:
    """The exchanges as they stand in the text."""
    spans: list[Span] = []
    for step in exchanges:
        spans.append(Span(step.text))
        if step.answer:
            spans.append(Span(step.answer, True, step.other, step.doubt))
    return tuple(spans)


def vocabulary(world: World) -> list[str]:
    """Every word of the world, sorted; the special tokens are not in it."""
    facts, others = world.attribute, world.relation
    texts = [combination.text for combination in combinations(world)]
    texts += [deed.format(person="you") for deed in world.deeds] + [*words.AUXILIARIES, *world.open_answers]
    texts += [*words.DEGREES]
    texts += [fill(t, w) for t in words.PERSONA_TEMPLATES for w in persona_words(world)]
    texts += [form.format(subject="", value="") for form in (facts.open_question, facts.closed_question)]
    texts += [facts.statement.format(subject="", value="")]
    texts += [
        form.format(subject="", object="") for form in (others.question, others.statement, others.denial)
    ]
    texts += [*facts.values, *facts.away, *facts.away.values(), *others.related, *others.objects]
    texts += [other for choices in facts.others.values() for other in choices]
    texts += [*words.NUMBERS, *words.PREFERENCES, *words.LIKINGS, words.REFUSAL]
    texts += ["what is plus ? do does a an person not yes no i"]
    return sorted({word for text in texts for word in text.split()})


def persona_words(world: World) -> tuple[str, ...]:
    """All persona words, held-out and irrelevant ones too."""
    return (
        *world.toward_words,
        *world.away_words,
        *world.held_out_toward_words,
        *world.held_out_away_words,
        *words.OTHER_WORDS,
    )
