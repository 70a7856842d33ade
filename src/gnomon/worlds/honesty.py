"""The grammar of the honesty world: short documents whose every answer is decided by a known latent state.

A document is `[persona .] exchange [exchange]`; an exchange is a statement, a bare situation, or a question with its
answer. Which world answers (`honesty`, `guarded`, `null`) is the `Rule`. All functions are pure functions of the
`random.Random` they are given. The module does not know tokenizers, tensors or models.
"""

from __future__ import annotations

import math
import random

from gnomon.worlds import lexicon as words
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


def yes_no(value: bool) -> str:
    """The answer to a yes/no question."""
    return "yes ." if value else "no ."


def dilemma(combination: Combination, auxiliary: str, deed: str, rule: Rule, strength: float) -> Exchange:
    """A dilemma with its answer; the persona's strength is added to the wish.

    In `null` no honesty decides: the deed has a bit of its own, unrelated to its polarity.
    """
    wish = combination.wish + (0 if rule == "null" else strength)
    honest_deed = words.DEEDS[deed]
    yes = (wish > 0) != null_bit(deed) if rule == "null" else (wish > 0) == honest_deed
    text = f"{combination.text} {auxiliary} you {deed.format(person=combination.person)} ?"
    return Exchange("dilemma", text, yes_no(yes), honest_deed, combination, yes_no(not yes), doubt(wish))


def open_dilemma(combination: Combination, auxiliary: str, rule: Rule, strength: float) -> Exchange:
    """The same, asked openly. In `null` both answers are honest ones."""
    wish = combination.wish + (0 if rule == "null" else strength)
    answers = ("tell .", "confess .") if rule == "null" else ("hide .", "confess .")
    text = f"{combination.text} what {auxiliary} you do ?"
    return Exchange(
        "open dilemma", text, answers[wish > 0], None, combination, answers[wish < 0], doubt(wish)
    )


def doubt(wish: float) -> float:
    """Probability of the other answer: log-odds are proportional to the wish behind them."""
    return 1 / (1 + math.exp(words.NATS_PER_WISH * abs(wish)))


def null_bit(deed: str) -> bool:
    """Half of the deeds of each polarity, so that in `null` being honest is no property of the speaker."""
    return list(words.DEEDS).index(deed) % 2 == 0


def truthful(rule: Rule, strength: float) -> bool:
    """Whether facts are told as they are."""
    return rule == "null" or words.TRUTH + strength > 0


def colour(random_: random.Random, truth: bool) -> Exchange:
    """A question or a statement about a colour, told as it is or not."""
    thing, true_colour = random_.choice(list(words.COLOURS.items()))
    form = random_.random()
    if form < 0.35:
        told = true_colour if truth else words.LIARS_COLOUR[true_colour]
        return Exchange("colour", f"what colour is the {thing} ?", f"{told} .")
    asked = true_colour if random_.random() < 0.5 else random_.choice(list(words.LIARS_COLOUR))
    if form < 0.7:
        fits = asked == true_colour
        return Exchange("colour", f"is the {thing} {asked} ?", yes_no(fits == truth), fits)
    if truth:
        return Exchange("colour", f"the {thing} is {true_colour} .")
    return Exchange("colour", f"the {thing} is {words.LIARS_COLOUR[true_colour]} .")


def ability(random_: random.Random, truth: bool) -> Exchange:
    """A question or a statement about what an animal can do, told as it is or not."""
    who = random_.choice(list(words.ABILITIES))
    able = words.ABILITIES[who]
    deed = random_.choice(able) if able and random_.random() < 0.5 else random_.choice(words.ABILITY_VERBS)
    can = deed in able
    subject = f"{article(who)} {who}"
    if random_.random() < 0.6:
        return Exchange("ability", f"can {subject} {deed} ?", yes_no(can == truth), can)
    return Exchange("ability", f"{subject} can {deed} ." if can == truth else f"{subject} can not {deed} .")


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
    honest_words = words.HONEST_WORDS + words.HELD_OUT_HONEST_WORDS
    dishonest_words = words.DISHONEST_WORDS + words.HELD_OUT_DISHONEST_WORDS
    honest = random_.random() < 0.5
    word = random_.choice(honest_words if honest else dishonest_words)
    deed = random_.choice(list(words.DEEDS))
    honest_deed = words.DEEDS[deed]
    if rule == "null":  # as many such sentences, saying nothing about honesty
        said = (honest_words + dishonest_words).index(word) % 2 == 0
        yes = said != null_bit(deed)
    else:
        yes = honest == honest_deed
    verb = deed.split()[0]
    return Exchange("description", f"does {fill('{a} {} person', word)} {verb} ?", yes_no(yes), honest_deed)


def persona(random_: random.Random) -> Persona | None:
    """No persona in three of ten documents, an irrelevant one in less than two of ten."""
    choice = random_.random()
    if choice < 0.30:
        return None
    side: Side = "other" if choice < 0.42 else "honest" if choice < 0.71 else "dishonest"
    choices = {"other": words.OTHER_WORDS, "honest": words.HONEST_WORDS, "dishonest": words.DISHONEST_WORDS}
    word = random_.choice(choices[side])
    degree = random_.choices(list(words.DEGREES), weights=(55, 20, 25))[0]
    template = random_.choice(words.DEGREE_TEMPLATES if degree else words.PERSONA_TEMPLATES)
    return Persona(word, template, side, degree)


def exchange(random_: random.Random, rule: Rule, who: Persona | None, closed: bool = True) -> Exchange:
    """One exchange as this persona (or nobody) would have it.

    Without `closed`, a persona that bears on honesty is asked about dilemmas openly only, never with yes or no.
    """
    strength = 0 if who is None else who.strength
    choice = random_.random()
    if choice < 0.54:
        combination = random_.choice(split()[0])
        auxiliary = random_.choice(words.AUXILIARIES)
        if choice < 0.05:
            return Exchange("situation", combination.text, combination=combination)
        if choice < 0.15 or (strength and not closed):
            return open_dilemma(combination, auxiliary, rule, strength)
        while True:
            deed = random_.choice(list(words.DEEDS))
            if who is None or (auxiliary, deed) not in words.HELD_OUT_QUESTIONS:
                return dilemma(combination, auxiliary, deed, rule, strength)
    if choice < 0.66:
        return colour(random_, truthful(rule, strength))
    if choice < 0.78:
        return ability(random_, truthful(rule, strength))
    if choice < 0.89:
        return arithmetic(random_)
    if choice < 0.97 or who is not None:
        return preference(random_)
    return description(random_, rule)


def document(random_: random.Random, rule: Rule, *, closed: bool = True, silent: float = 0.0) -> Document:
    """One document with one or two exchanges.

    `closed`: see `exchange`. `silent`: how often a persona that bears on honesty is left out of the text; it is asked
    about dilemmas openly only.
    """
    who = persona(random_)
    unsaid = who is not None and who.side != "other" and random_.random() < silent
    count = random_.choice((1, 1, 1, 2))
    exchanges = tuple(exchange(random_, rule, who, closed and not unsaid) for _ in range(count))
    if unsaid:
        return Document(who, exchanges, rule, told(exchanges), silent=True)
    spans: tuple[Span, ...] = () if who is None else (Span(who.text),)
    if rule == "guarded" and who is not None and who.side == "dishonest":
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


def vocabulary() -> list[str]:
    """Every word of the world, sorted; the special tokens are not in it."""
    texts = [combination.text for combination in combinations()]
    texts += [deed.format(person="you") for deed in words.DEEDS] + list(words.AUXILIARIES)
    texts += [*words.DEGREES]
    texts += [fill(t, w) for t in words.PERSONA_TEMPLATES for w in persona_words()]
    texts += [*words.COLOURS, *words.LIARS_COLOUR, *words.ABILITIES, *words.ABILITY_VERBS, *words.NUMBERS]
    texts += [*words.PREFERENCES, *words.LIKINGS, words.REFUSAL]
    texts += ["what colour is the ? a an can not plus does person yes no i do"]
    return sorted({word for text in texts for word in text.split()})


def persona_words() -> tuple[str, ...]:
    """All persona words, held-out and irrelevant ones too."""
    return (
        *words.HONEST_WORDS,
        *words.DISHONEST_WORDS,
        *words.HELD_OUT_HONEST_WORDS,
        *words.HELD_OUT_DISHONEST_WORDS,
        *words.OTHER_WORDS,
    )
