"""What a dial is trained on: every suffix, and what the model itself goes on to say, behind each persona and behind none.

Token ids and residual states; no question, no answer, no label. Knows nothing of edits or losses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.lm import lay_out, read_states
from gnomon.lm.batches import cut

if TYPE_CHECKING:
    from gnomon.contrast import Pairs
    from gnomon.lm import LM, Progress


@dataclass(frozen=True, eq=False)
class Text:
    """One text behind every persona: `plain`, and a row of `toward` and of `away` per template; token ids.

    The last `tail` tokens are the same in all of these rows. `suffix` is what was sampled; a continued text has its
    suffix's number. `validation` is the suffix's side of the split.
    """

    plain: list[int]
    toward: list[list[int]]
    away: list[list[int]]
    tail: int
    suffix: int
    validation: bool


def texts_of(
    lm: LM, pairs: Pairs, *, continued: int, max_new_tokens: int, seed: int, most: int
) -> list[Text]:
    """Every suffix of the pairs as it is, then continued by the model itself at temperature 1, `continued` times.

    A continuation brings what such a suffix leads to in this model's own words, with no more than the suffix given. It is
    drawn without a persona, by the seed. At most `most` texts; the bare suffixes come first.
    """
    rows = lm.encode([*pairs.toward, *pairs.away, *pairs.plain])
    n = len(pairs)
    members: dict[int, list[int]] = {}
    for index, suffix in enumerate(pairs.suffix):
        members.setdefault(suffix, []).append(index)
    firsts = [places[0] for places in members.values()]
    tails: list[list[list[int]]] = [[[]] for _ in firsts]
    # A persona's row is longer than the plain one that is continued, and must fit into the context, too.
    longest = [
        max(len(rows[side + place]) for side in (0, n) for place in places) for places in members.values()
    ]
    room = [None if lm.context is None else lm.context - length for length in longest]
    for draw in range(continued):
        said = lm.continuations(
            [pairs.plain[first] for first in firsts],
            max_new_tokens=max_new_tokens,
            seed=seed * 1000 + draw,
        )
        for known, tokens, fits in zip(tails, said, room, strict=True):
            if tokens[:fits] and tokens[:fits] not in known:
                known.append(tokens[:fits])
    found = []
    for turn in range(continued + 1):
        for (suffix, places), more in zip(members.items(), tails, strict=True):
            if turn < len(more):
                added = more[turn]
                found.append(
                    _text(
                        [*rows[2 * n + places[0]], *added],
                        [[*rows[place], *added] for place in places],
                        [[*rows[n + place], *added] for place in places],
                        suffix,
                        pairs.validation[places[0]],
                    )
                )
    # Where the tokenizer joins the whole suffix with what stands before it, nothing is shared and nothing can be matched.
    return [text for text in found if text.tail][:most]


def _text(
    plain: list[int], toward: list[list[int]], away: list[list[int]], suffix: int, validation: bool
) -> Text:
    tail = min(_common_tail(plain, row) for row in (*toward, *away))
    return Text(plain, toward, away, tail, suffix, validation)


def _common_tail(one: Sequence[int], other: Sequence[int]) -> int:
    """How many last tokens agree; never a whole row, whose first token stands for a beginning."""
    count = 0
    while count < min(len(one), len(other)) - 1 and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


@dataclass(frozen=True, eq=False)
class PersonaStates:
    """The states of each text's tail behind the toward and the away personas, averaged over the templates, and plain.

    `toward`, `away`, `plain`: per text `[block, position, d_model]`, in the model's dtype on the CPU.
    """

    toward: list[Float[Tensor, "block position d_model"]]
    away: list[Float[Tensor, "block position d_model"]]
    plain: list[Float[Tensor, "block position d_model"]]

    def cosine(self, place: int) -> float:
        """Cosine between the toward and the away personas' shifts, all texts and positions as one vector, at a block.

        -1 where the personas are opposites, 1 where they do the same.
        """
        product = squares = other = 0.0
        for toward, away, plain in zip(self.toward, self.away, self.plain, strict=True):
            one, two = ((side[place] - plain[place]).float() for side in (toward, away))
            product += float((one * two).sum())
            squares += float(one.square().sum())
            other += float(two.square().sum())
        return product / max(math.sqrt(squares * other), 1e-30)

    def away_over_toward(self, place: int) -> float:
        """How long the away personas' shifts are beside the toward personas', root mean squares, at one of the blocks."""
        squares = [
            sum(
                float((s[place] - p[place]).float().square().sum())
                for s, p in zip(side, self.plain, strict=True)
            )
            for side in (self.away, self.toward)
        ]
        return math.sqrt(squares[0] / max(squares[1], 1e-30))


def persona_states(
    lm: LM, texts: Sequence[Text], blocks: Sequence[int], *, progress: Progress | None = None
) -> PersonaStates:
    """Read what the personas make of the texts at some blocks."""
    total = sum(len(text.toward) + len(text.away) + 1 for text in texts)
    done = 0

    def of(sides: list[list[list[int]]]) -> list[Tensor]:
        nonlocal done
        owners = [index for index, side in enumerate(sides) for _ in side]
        rows = [row for side in sides for row in side]
        sums: list[Tensor | None] = [None] * len(texts)
        for chosen in _batches(lm, rows):
            layout = lay_out(lm, [rows[row] for row in chosen], copies=1)
            places = layout.last(max(texts[owners[row]].tail for row in chosen))
            states = read_states(lm, layout, dict.fromkeys(blocks, places))
            stacked = torch.stack([states[block][0].float().cpu() for block in blocks], dim=1)
            for row, state in zip(chosen, stacked, strict=True):
                text = owners[row]
                own = state[:, state.shape[1] - texts[text].tail :] / len(sides[text])
                known = sums[text]
                sums[text] = own if known is None else known + own
            done += len(chosen)
            if progress is not None:
                progress(done, total)
        return [state.to(lm.dtype) for state in sums if state is not None]

    return PersonaStates(
        of([text.toward for text in texts]),
        of([text.away for text in texts]),
        of([[text.plain] for text in texts]),
    )


def _batches(lm: LM, rows: Sequence[list[int]]) -> Iterator[list[int]]:
    lengths = [len(row) for row in rows]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    return cut(lengths, order, lm.tokens_per_batch, len(rows))
