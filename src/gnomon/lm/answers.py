"""How likely the model is to answer one way or the other.

The probability of a class is the sum over its spellings of the probability of the whole token sequence. Spellings
are compared as token ids in the context of their prompt, never as substrings. The prompt is computed once; longer
spellings walk down from it token by token on the KV cache, and spellings that begin alike share their steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gnomon.errors import UsageError
from gnomon.lm.batches import Progress, Tokens, in_batches, pad
from gnomon.lm.prompts import Chat, Prompt
from gnomon.lm.reading import select

if TYPE_CHECKING:
    from gnomon.lm.model import LM

Classes = Mapping[str, Sequence[str]]
"""Class name -> spellings, exactly two classes; the first is the positive one."""

Spelling = tuple[int, ...]

_SHORTEST_REFUSAL = 3
# A refusal opening whose first tokens are less likely than this is not followed further: it counts as 0.
_FOLLOWED = np.log(1e-6)


@dataclass(frozen=True)
class Answers:
    """What the model would answer, per prompt; all logarithms are natural, computed in float32.

    Attributes:
        log_prob: `[prompt, 2]`, the log-probability of each class.
        log_odds: `[prompt]`, log P(first class) - log P(second class).
        choice_mass: `[prompt]`, the probability that the answer is one of the two.
        refusal_mass: `[prompt]`, the probability of the packaged refusal openings; NaN where none of them can be
            written in the model's vocabulary with three tokens or more.
    """

    log_prob: Float[NDArray[np.float64], "prompt 2"]
    log_odds: Float[NDArray[np.float64], "prompt"]
    choice_mass: Float[NDArray[np.float64], "prompt"]
    refusal_mass: Float[NDArray[np.float64], "prompt"]

    def __len__(self) -> int:
        return len(self.log_odds)

    def __getitem__(self, prompts: slice) -> Answers:
        return Answers(**{field.name: getattr(self, field.name)[prompts] for field in fields(self)})


@dataclass(frozen=True)
class Asked:
    """One prompt's token ids, and the spellings of the two classes and of a refusal as what follows them.

    No spelling of a class begins another one: a class's probability is the sum over its spellings.
    """

    ids: list[int]
    classes: tuple[list[Spelling], list[Spelling]]
    refusals: list[Spelling]

    def followed(self, beginning: Spelling) -> bool:
        """Whether an answer (and not only a refusal) goes on behind this beginning."""
        k = len(beginning)
        return any(s[:k] == beginning and len(s) > k for spellings in self.classes for s in spellings)


@torch.no_grad()
def answers(
    lm: LM, prompts: Sequence[Prompt], classes: Classes | Sequence[Classes], progress: Progress | None
) -> Answers:
    """The log-probability of two answer classes after each prompt; see `LM.answers`."""
    per_prompt = [classes] * len(prompts) if isinstance(classes, Mapping) else list(classes)
    if len(per_prompt) != len(prompts):
        raise UsageError(f"{len(per_prompt)} sets of answer classes were given for {len(prompts)} prompts.")
    asked = in_tokens(lm, prompts, per_prompt)
    log_prob = np.empty((len(prompts), 2))
    refusal_mass = np.empty(len(prompts))
    lengths = [len(one.ids) for one in asked]
    order = sorted(range(len(asked)), key=lambda row: (lm.alphas_of(row), lengths[row]))
    done = 0
    for rows, found in in_batches(lm, lengths, order, lm.rows_per_batch, partial(_walk, lm, asked)):
        for row, of_spelling in zip(rows, found, strict=True):
            log_prob[row] = [_log_sum(of_spelling, spellings) for spellings in asked[row].classes]
            refusals = asked[row].refusals
            refusal_mass[row] = np.exp(_log_sum(of_spelling, refusals)) if refusals else np.nan
        done += len(rows)
        if progress is not None:
            progress(done, len(asked))
    return Answers(
        log_prob=log_prob,
        log_odds=log_prob[:, 0] - log_prob[:, 1],
        choice_mass=np.exp(log_prob).sum(axis=1),
        refusal_mass=refusal_mass,
    )


@torch.no_grad()
def refusal_mass(lm: LM, prompts: Sequence[Prompt]) -> Float[np.ndarray, "prompt"]:
    """The probability that the model goes on with a refusal; NaN where no opening fits its vocabulary."""
    texts = lm.texts(prompts)
    ids = lm.encode_texts(texts)
    joints = [_joint(lm, prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    words = refusal_openings(lm)
    wanted = sorted(
        {(text, joint, word) for text, joint in zip(texts, joints, strict=True) for word in words}
    )
    joined = _in_context(lm, dict(zip(texts, ids, strict=True)), wanted)
    asked = []
    for own, text, joint in zip(ids, texts, joints, strict=True):
        openings = [joined[text, joint, word] for word in words]
        fitting = [opening for opening in openings if opening and len(opening) >= _SHORTEST_REFUSAL]
        asked.append(Asked(own, ([], []), _shortest(fitting)))
    mass = np.full(len(asked), np.nan)
    lengths = [len(one.ids) for one in asked]
    able = [row for row, one in enumerate(asked) if one.refusals]
    order = sorted(able, key=lambda row: (lm.alphas_of(row), lengths[row]))
    for rows, found in in_batches(lm, lengths, order, lm.rows_per_batch, partial(_walk, lm, asked)):
        for row, of_spelling in zip(rows, found, strict=True):
            mass[row] = np.exp(_log_sum(of_spelling, asked[row].refusals))
    return mass


def _log_sum(of_spelling: Mapping[Spelling, float], spellings: Sequence[Spelling]) -> float:
    return float(np.logaddexp.reduce([of_spelling.get(spelling, -np.inf) for spelling in spellings]))


# -- spellings in context ------------------------------------------------------------------------------------------


def in_tokens(lm: LM, prompts: Sequence[Prompt], classes: Sequence[Classes]) -> list[Asked]:
    """Prompts and answers as token ids; raises `UsageError` for classes whose spellings cannot be told apart."""
    for named in classes:
        if len(named) != 2:
            raise UsageError(f"An answer needs two classes, not {len(named)}: {', '.join(named) or 'none'}.")
        for name, spellings in named.items():
            if not spellings or isinstance(spellings, str) or not all(s.strip() for s in spellings):
                raise UsageError(f"The answer class {name!r} needs a list of spellings, none of them empty.")
    texts = lm.texts(prompts)
    ids = lm.encode_texts(texts)
    refusals = refusal_openings(lm)
    wanted = {
        (text, _joint(lm, prompt, text), word)
        for prompt, text, named in zip(prompts, texts, classes, strict=True)
        for word in (*(word.strip() for spellings in named.values() for word in spellings), *refusals)
    }
    joined = _in_context(lm, dict(zip(texts, ids, strict=True)), sorted(wanted))
    asked = []
    for prompt, text, own, named in zip(prompts, texts, ids, classes, strict=True):
        joint = _joint(lm, prompt, text)
        first, second = (
            _shortest([_found(joined, text, joint, word.strip()) for word in spellings])
            for spellings in named.values()
        )
        _refuse_overlap(named, (first, second), lm)
        openings = [joined[text, joint, word] for word in refusals]
        fitting = [opening for opening in openings if opening and len(opening) >= _SHORTEST_REFUSAL]
        asked.append(Asked(own, (first, second), _shortest(fitting)))
    return asked


def _joint(lm: LM, prompt: Prompt, text: str) -> str:
    """What stands between the prompt and its answer: nothing where the model's own turn just began."""
    begun = prompt.assistant if isinstance(prompt, Chat) else ""
    if lm.is_chat and not begun:
        return ""
    return "" if not text or text[-1].isspace() else " "


def _in_context(
    lm: LM, ids: Mapping[str, list[int]], wanted: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], Spelling | None]:
    """The tokens that each word adds to its prompt; None where the word changes the prompt's own tokens.

    Where the tokenizer merges the word's beginning with the prompt's end, the word is tried once more behind
    one (further) space.
    """
    found: dict[tuple[str, str, str], Spelling | None] = {}
    left = [(key, key[1]) for key in wanted]
    for further in ("", " "):
        whole = lm.encode_texts([key[0] + joint + further + key[2] for key, joint in left])
        for (key, _), longer in zip(left, whole, strict=True):
            own = ids[key[0]]
            extends = longer[: len(own)] == own and len(longer) > len(own)
            found[key] = tuple(longer[len(own) :]) if extends else None
        left = [(key, joint) for key, joint in left if found[key] is None]
    return found


def _found(
    joined: Mapping[tuple[str, str, str], Spelling | None], text: str, joint: str, word: str
) -> Spelling:
    spelling = joined[text, joint, word]
    if spelling is None:
        raise UsageError(
            f"The answer {word!r} has no tokens of its own behind the prompt {text[-40:]!r}, whose end it changes: "
            "end the prompt with a space or a line break, or choose another spelling."
        )
    return spelling


def _shortest(spellings: Sequence[Spelling]) -> list[Spelling]:
    """Each spelling once, without those that another one begins: its probability covers them."""
    unique = sorted(set(spellings), key=lambda spelling: (len(spelling), spelling))
    kept: list[Spelling] = []
    for spelling in unique:
        if not any(spelling[: len(shorter)] == shorter for shorter in kept):
            kept.append(spelling)
    return kept


def _refuse_overlap(classes: Classes, spellings: tuple[list[Spelling], list[Spelling]], lm: LM) -> None:
    for a in spellings[0]:
        for b in spellings[1]:
            if a[: len(b)] == b or b[: len(a)] == a:
                first, second = classes
                words = [lm.tokenizer.decode(list(ids)).strip() for ids in (a, b)]
                raise UsageError(
                    f"The answers {words[0]!r} of {first!r} and {words[1]!r} of {second!r} cannot be told apart: to "
                    "the tokenizer one begins the other, so choose spellings that differ from their first tokens on."
                )


def refusal_openings(lm: LM) -> list[str]:
    """The packaged openings of a refusal that the vocabulary can write."""
    lines = resources.files(__package__).joinpath("refusals.txt").read_text("utf-8").splitlines()
    unknown = lm.tokenizer.unk_token_id
    encoded = lm.tokenizer(lines, add_special_tokens=False)["input_ids"]
    return [line for line, ids in zip(lines, encoded, strict=True) if unknown is None or unknown not in ids]


# -- probabilities of token sequences --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Node:
    """A beginning of some spelling behind one prompt, and its log-probability."""

    row: int  # in the batch
    tokens: Spelling
    log_prob: float


def _walk(lm: LM, asked: Sequence[Asked], rows: list[int]) -> list[dict[Spelling, float]]:
    """The log-probability of every beginning of every spelling, per row of the batch."""
    batch = [asked[row] for row in rows]
    found: list[dict[Spelling, float]] = [{} for _ in batch]
    tokens = pad([one.ids for one in batch], lm.device, side="left")
    deep = any(
        len(spelling) > 1 for one in batch for group in (*one.classes, one.refusals) for spelling in group
    )
    cache = lm.new_cache() if deep else None
    logits = lm.forward(tokens, rows, cache=cache)
    roots = [_Node(row, (), 0.0) for row in range(len(batch))]
    _descend(lm, batch, rows, roots, logits, tokens, cache, found)
    return found


def _descend(
    lm: LM,
    batch: Sequence[Asked],
    prompts: Sequence[int],
    nodes: Sequence[_Node],
    logits: Tensor,
    tokens: Tokens,
    cache: Any,
    found: list[dict[Spelling, float]],
) -> None:
    """Read the children of these nodes, then go on with those that a longer spelling needs."""
    children = [
        (at, token) for at, node in enumerate(nodes) for token in _next_tokens(batch[node.row], node.tokens)
    ]
    at = torch.tensor([at for at, _ in children], device=logits.device)
    token = torch.tensor([token for _, token in children], device=logits.device)
    last = logits[:, -1].float()
    log_probs = (last[at, token] - last.logsumexp(dim=-1)[at]).tolist()
    deeper: list[tuple[int, _Node]] = []
    for (parent, next_token), log_prob in zip(children, log_probs, strict=True):
        node = nodes[parent]
        child = _Node(node.row, (*node.tokens, next_token), node.log_prob + log_prob)
        found[child.row][child.tokens] = child.log_prob
        one = batch[child.row]
        if one.followed(child.tokens) or (child.log_prob > _FOLLOWED and _next_tokens(one, child.tokens)):
            deeper.append((parent, child))
    size = len(batch)  # as many rows at once as the batch itself had
    for start in range(0, len(deeper), size):
        part = deeper[start : start + size]
        parents = torch.tensor([parent for parent, _ in part], device=lm.device)
        own = [child for _, child in part]
        branch = select(cache, parents)
        mask = tokens.attention_mask[parents]
        step = Tokens(
            input_ids=torch.tensor([[child.tokens[-1]] for child in own], device=lm.device),
            attention_mask=torch.cat([mask, mask.new_ones(len(own), 1)], dim=1),
            position_ids=tokens.position_ids[parents, -1:] + 1,
        )
        logits = lm.forward(step, [prompts[child.row] for child in own], cache=branch)
        _descend(lm, batch, prompts, own, logits, step, branch, found)


def _next_tokens(asked: Asked, beginning: Spelling) -> list[int]:
    k = len(beginning)
    spellings = (*asked.classes[0], *asked.classes[1], *asked.refusals)
    return sorted({spelling[k] for spelling in spellings if spelling[:k] == beginning and len(spelling) > k})
