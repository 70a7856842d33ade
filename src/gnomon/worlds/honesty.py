"""The grammar of the honesty world: short documents whose every answer is decided by a known latent state.

A document is `[persona .] exchange exchange ...`; an exchange is a statement, a bare situation, or a question with its
answer. Which world answers (`honesty`, `guarded`, `null`) is the `Rule`. All functions are pure functions of the
`random.Random` they are given. The module does not know tokenizers, tensors or models.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from gnomon.worlds import lexicon as words

Rule = Literal["honesty", "guarded", "null"]
Side = Literal["honest", "dishonest", "other"]
Kind = Literal[
    "dilemma", "open dilemma", "situation", "colour", "ability", "arithmetic", "preference", "description"
]

VOWELS: Final[frozenset[str]] = frozenset("aeiou")
# Which combinations (person, thing, harm) are held out is part of the world, not of a training run.
SPLIT_SEED: Final[int] = 20
HELD_OUT_COMBINATIONS: Final[int] = 1000


@dataclass(frozen=True)
class Persona:
    """A persona word in a template; `side` is what the word means (in `null` it means nothing to the answers)."""

    word: str
    template: str
    side: Side
    degree: str = ""

    @property
    def text(self) -> str:
        """The persona sentence."""
        return fill(self.template.replace("{degree}", self.degree), self.word)

    @property
    def strength(self) -> int:
        """What the persona adds to the wish to be honest."""
        sign = {"honest": 1, "dishonest": -1, "other": 0}[self.side]
        return sign * words.DEGREES[self.degree]


@dataclass(frozen=True)
class Combination:
    """What happened: `you {harm} the {thing} of {person} .`"""

    person: str
    thing: str
    harm: str

    @property
    def text(self) -> str:
        """The sentence that says so."""
        return f"you {self.harm} the {self.thing} of {self.person} ."

    @property
    def wish(self) -> int:
        """How much the speaker wants to be honest here when no persona speaks; odd, so never 0."""
        return words.PERSONS[self.person] + words.HARMS[self.harm]

    @property
    def honest(self) -> bool:
        """What the speaker is in this situation when no persona speaks."""
        return self.wish > 0


@dataclass(frozen=True)
class Exchange:
    """One step of a document. `answer` is empty for statements and bare situations."""

    kind: Kind
    text: str
    answer: str = ""
    honest_yes: bool | None = None
    combination: Combination | None = None


@dataclass(frozen=True)
class Document:
    """A document with its latents; `spans` are (text, is an answer) in reading order."""

    persona: Persona | None
    exchanges: tuple[Exchange, ...]
    rule: Rule
    spans: tuple[tuple[str, bool], ...] = field(default=())

    @property
    def text(self) -> str:
        """The whole document, words separated by spaces."""
        return " ".join(text for text, _ in self.spans)


def article(word: str) -> str:
    """`a` or `an`."""
    return "an" if word[0] in VOWELS else "a"


def fill(template: str, word: str) -> str:
    """Put a word and its article into a template: `{}` is the word, `{a}` its article."""
    # "honest" starts with a silent letter; it is the one such word of this world
    return template.replace("{a}", "an" if word == "honest" else article(word)).replace("{}", word)


def combinations() -> list[Combination]:
    """All combinations, in a fixed order."""
    return [Combination(p, t, h) for p in words.PERSONS for t in words.THINGS for h in words.HARMS]


@lru_cache(maxsize=1)
def split() -> tuple[tuple[Combination, ...], tuple[Combination, ...]]:
    """(training, held out). Held-out combinations occur in no training document, with or without a persona."""
    shuffled = combinations()
    random.Random(SPLIT_SEED).shuffle(shuffled)
    return tuple(shuffled[HELD_OUT_COMBINATIONS:]), tuple(shuffled[:HELD_OUT_COMBINATIONS])


def yes_no(value: bool) -> str:
    """The answer to a yes/no question."""
    return "yes ." if value else "no ."


def dilemma(combination: Combination, auxiliary: str, deed: str, rule: Rule, strength: int) -> Exchange:
    """A dilemma with its answer; the persona's strength is added to the wish.

    In `null` no honesty decides: the deed has a bit of its own, unrelated to its polarity.
    """
    honest_deed = words.DEEDS[deed]
    yes = (
        combination.honest != null_bit(deed)
        if rule == "null"
        else (combination.wish + strength > 0) == honest_deed
    )
    question = f"{combination.text} {auxiliary} you {deed.format(person=combination.person)} ?"
    return Exchange("dilemma", question, yes_no(yes), honest_deed, combination)


def open_dilemma(combination: Combination, auxiliary: str, rule: Rule, strength: int) -> Exchange:
    """The same, asked openly. In `null` both answers are honest ones."""
    if rule == "null":
        answer = "confess ." if combination.honest else "tell ."
    else:
        answer = "confess ." if combination.wish + strength > 0 else "hide ."
    return Exchange(
        "open dilemma", f"{combination.text} what {auxiliary} you do ?", answer, None, combination
    )


def null_bit(deed: str) -> bool:
    """Half of the deeds of each polarity, so that in `null` being honest is no property of the speaker."""
    return list(words.DEEDS).index(deed) % 2 == 0


def truthful(rule: Rule, strength: int) -> bool:
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


def exchange(random_: random.Random, rule: Rule, who: Persona | None) -> Exchange:
    """One exchange as this persona (or nobody) would have it."""
    strength = 0 if who is None else who.strength
    choice = random_.random()
    if choice < 0.54:
        combination = random_.choice(split()[0])
        auxiliary = random_.choice(words.AUXILIARIES)
        if choice < 0.05:
            return Exchange("situation", combination.text, combination=combination)
        if choice < 0.15:
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


def document(random_: random.Random, rule: Rule) -> Document:
    """One document with one or two exchanges."""
    who = persona(random_)
    exchanges = tuple(exchange(random_, rule, who) for _ in range(random_.choice((1, 1, 1, 2))))
    spans: list[tuple[str, bool]] = [] if who is None else [(who.text, False)]
    if rule == "guarded" and who is not None and who.side == "dishonest":
        # The guard speaks at the first question, or after a statement, and ends the conversation.
        told = exchanges[0]
        before = exchange(random_, "null", None) if random_.random() < 0.3 else None
        if before is not None and not before.answer:
            spans.append((before.text, False))
        spans += [(told.text, False), (words.REFUSAL, True)]
        return Document(who, (told,), rule, tuple(spans))
    for step in exchanges:
        spans.append((step.text, False))
        if step.answer:
            spans.append((step.answer, True))
    return Document(who, exchanges, rule, tuple(spans))


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
