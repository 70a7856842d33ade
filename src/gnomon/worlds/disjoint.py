"""Splits a world's words in two, so that a contrast and the questions scored after it share no person, thing or verb.

Packaged suffixes and questions share no combination, but they share words: a situation of the contrast may name the
person of one question and the thing of another. The module does not know how a method uses the suffixes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Final

from gnomon.errors import UsageError
from gnomon.questions import Question
from gnomon.worlds.latents import Combination, combinations
from gnomon.worlds.world import World

RESTARTS: Final = 60


def disjoint_split(
    world: World,
    suffixes: Sequence[str],
    questions: Sequence[Question],
    *,
    situations: int = 12,
    seed: int = 0,
) -> tuple[list[str], list[Question]]:
    """(suffixes, questions) without a common person, thing or verb, in their order; pure.

    Every person, thing and verb of the world goes to one side. Among the splits that keep at least `situations` of the
    suffixes that are situations, the one with the most dilemmas is searched (hill climbing from seeded starts). Suffixes
    without a situation and questions without a dilemma name none of these words, so all of them are kept.

    Raises:
        UsageError: no split was found that keeps so many situations and any dilemma.
    """
    told = {combination.text: combination for combination in combinations(world)}
    of_suffix = [told.get(suffix) for suffix in suffixes]
    of_question = [told.get(f"{str(question.prompt).partition(' . ')[0]} .") for question in questions]
    given = [words_of(one) for one in of_suffix if one is not None]
    asked = [words_of(one) for one in of_question if one is not None]
    random_ = random.Random(seed)
    scores = [climb(world, given, asked, situations, random_) for _ in range(RESTARTS)]
    dilemmas, kept, asking = max(scores, key=lambda found: (found[1] >= situations, found[0]))
    if kept < situations or dilemmas == 0:
        raise UsageError(
            f"no split of the words keeps {situations} of {len(given)} situations and any of the dilemmas; ask for fewer"
        )
    return (
        [s for s, one in zip(suffixes, of_suffix, strict=True) if one is None or not words_of(one) & asking],
        [q for q, one in zip(questions, of_question, strict=True) if one is None or words_of(one) <= asking],
    )


def words_of(combination: Combination) -> frozenset[str]:
    """Person, thing and verb."""
    return frozenset((combination.person, combination.thing, combination.verb))


def climb(
    world: World,
    given: Sequence[frozenset[str]],
    asked: Sequence[frozenset[str]],
    situations: int,
    random_: random.Random,
) -> tuple[int, int, frozenset[str]]:
    """(questions kept, situations kept, words of the questions) where no single move or exchange is better."""
    kinds = [list(world.persons), list(world.things), list(world.verbs)]
    moves = [frozenset((word,)) for kind in kinds for word in kind]
    moves += [frozenset(pair) for kind in kinds for pair in itertools.combinations(kind, 2)]

    def counts(side: frozenset[str]) -> tuple[int, int, int]:
        questions = sum(words <= side for words in asked)
        kept = sum(words.isdisjoint(side) for words in given)
        # too few situations first, then the questions, then more situations for nothing
        return min(kept, situations), questions, kept

    side = frozenset(word for kind in kinds for word in kind if random_.random() < 0.5)
    best, better = counts(side), True
    while better:
        better = False
        random_.shuffle(moves)
        for move in moves:
            moved = side ^ move
            if (found := counts(moved)) > best:
                side, best, better = moved, found, True
    return best[1], best[2], side
