"""Whether the tokenizer sees contrast pairs as texts that differ in one span and share their tail.

Knows a model by its token ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.contrast.pairs import Pairs
    from gnomon.lm import LM, Prompt


def check_words(lm: LM, toward: str, away: str) -> None:
    """Raise `UsageError` where the tokenizer does not know a word, or cannot tell the two apart."""
    tokenizer = lm.tokenizer
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.bos_token_id else None
    # the words themselves, since a chat template may have unknown tokens of its own
    encoded = lm.encode_texts([toward, away])
    for word, ids in zip((toward, away), encoded, strict=True):
        if unknown is not None and unknown in ids:
            raise UsageError(
                f"the tokenizer of {lm.name} does not know {word!r}; use a word from its vocabulary"
            )
    if encoded[0] == encoded[1]:
        raise UsageError(
            f"the tokenizer of {lm.name} cannot tell {toward!r} and {away!r} apart; use other words"
        )


def check_pairs(lm: LM, pairs: Pairs, personas: Sequence[tuple[Prompt, Prompt]]) -> None:
    """Raise `UsageError` where the sides of a pair are equal or do not end in the same suffix tokens.

    `personas` holds, for every template, the two prompts as they are before the suffix begins. The differing
    spans may have different token counts, so the two sides are aligned from the end.
    """
    n = len(pairs)
    encoded = lm.encode([*pairs.toward, *pairs.away])
    begun = lm.encode([prompt for sides in personas for prompt in sides])
    for index, template in enumerate(pairs.template):
        toward, away = encoded[index], encoded[n + index]
        if toward == away:
            raise UsageError(
                f"the tokenizer of {lm.name} cannot tell {pairs.personas[template][0]!r} "
                f"and {pairs.personas[template][1]!r} apart; use other words or another template"
            )
        suffix_tokens = max(
            len(ids) - _shared(ids, before)
            for ids, before in ((toward, begun[2 * template]), (away, begun[2 * template + 1]))
        )
        if _shared(toward[::-1], away[::-1]) < suffix_tokens:
            raise UsageError(
                f"the tokenizer of {lm.name} splits the suffix of {pairs.plain[index]!r} differently behind "
                f"{pairs.personas[template][0]!r} and {pairs.personas[template][1]!r}; "
                "let the template end in a period"
            )


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens agree."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))
