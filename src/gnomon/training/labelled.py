"""Answers to labelled questions as an objective: what `supervised` is trained for, and no other method may see.

Knows questions with their labels, replays and edited Linears; knows nothing of how a score is made of answers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from gnomon.errors import UsageError
from gnomon.lm import Head, Places, Replay, lay_out
from gnomon.lm.answers import Asked, in_tokens
from gnomon.training.edited import ALPHAS, Edited, computing

if TYPE_CHECKING:
    from gnomon.lm import LM, Progress
    from gnomon.questions import Question, Questions

VALIDATION_SHARE = 0.25
"""Of the clusters; a dilemma is on one side of the split with all of its questions."""
CONTROLS_PER_TARGET = 0.25
"""How many controls a batch has, at most; they are few, so they come again."""


@dataclass(frozen=True, eq=False)
class AnswerTokens:
    """Where the log-probability of every token of every spelling is read, in a batch of rows.

    A row is a prompt, or a prompt with the first tokens of a spelling; its last token is where the next one is read.

    Attributes:
        row, token: Of each token: the row that it follows, and which one it is.
        real: Where there is a token; a spelling without any is none.
    """

    row: Int[Tensor, "question 2 spelling token"]
    token: Int[Tensor, "question 2 spelling token"]
    real: Bool[Tensor, "question 2 spelling token"]

    @classmethod
    def of(cls, asked: Sequence[Asked], device: torch.device) -> tuple[list[list[int]], AnswerTokens]:
        """The rows of some questions, each once, and what is read behind them."""
        rows: list[list[int]] = []
        places: list[tuple[int, int, int, int, int, int]] = []
        for question, one in enumerate(asked):
            known: dict[tuple[int, ...], int] = {}
            for side, spellings in enumerate(one.classes):
                for number, spelling in enumerate(spellings):
                    for step, token in enumerate(spelling):
                        beginning = spelling[:step]
                        if beginning not in known:
                            known[beginning] = len(rows)
                            rows.append([*one.ids, *beginning])
                        places.append((question, side, number, step, known[beginning], token))
        *index, behind, read = torch.tensor(places).unbind(1)
        shape = [len(asked), 2, *(int(one.max()) + 1 for one in index[2:])]
        empty = torch.zeros(shape, dtype=torch.long)
        found = (empty.index_put(tuple(index), of) for of in (behind, read, torch.ones_like(read)))
        rows_of, tokens, real = (one.to(device) for one in found)
        return rows, cls(rows_of, tokens, real.bool())

    def log_odds(self, log_probs: Float[Tensor, "copy row vocabulary"]) -> Float[Tensor, "copy question"]:
        """log P(first class) - log P(second class), nats; a class is the sum over its spellings, as in `LM.answers`."""
        steps = log_probs[:, self.row, self.token].masked_fill(~self.real, 0.0)
        spellings = steps.sum(-1).masked_fill(~self.real[..., 0], -math.inf)
        classes = spellings.logsumexp(-1)
        return classes[..., 0] - classes[..., 1]


@dataclass(frozen=True, eq=False)
class _Batch:
    replay: Replay
    places: Places
    answers: AnswerTokens
    label: Float[Tensor, "question"]  # 0 for a control
    at_rest: Float[Tensor, "question"]


class LabelledAnswers:
    """Mean of `softplus(-alpha y l(alpha))` over targets and signs, and of `weight (l(alpha) - l(0))^2` over controls.

    `l` are log-odds in nats, `y` is +1 where the first class is the toward word's answer: the loss is that of logistic
    regression on alpha's sign, at least log 2 for an untrained dial. It is exact for spellings of several tokens too.

    Raises `UsageError` where there are no questions with a label to train on, or none for validation.
    """

    def __init__(
        self,
        lm: LM,
        edited: Edited,
        questions: Questions,
        *,
        start: int,
        rows: int,
        control_weight: float,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        kept_out = validation_clusters(questions, seed)
        self._edited = edited
        self._head = Head.find(lm)
        self._last = lm.n_blocks - 1
        self._control_weight = control_weight
        self._alphas = torch.tensor(ALPHAS, device=lm.device).unsqueeze(1)
        self._training: list[_Batch] = []
        self._validation: list[_Batch] = []
        self.about = {
            "weights": lm.weights_id(),
            "modules": [base.module for base in edited.bases],
            "first_token": edited.first_token,
            "start": start,
            "rows": rows,
            "control_weight": control_weight,
            "questions": questions.fingerprint,
        }
        """What tells this objective from another, for a checkpoint."""
        training = [one for one in questions if one.cluster not in kept_out]
        validation = [one for one in questions if one.cluster in kept_out]
        planned = [(self._training, chosen) for chosen in _batches(training, rows, seed)]
        planned += [(self._validation, validation[at : at + rows]) for at in range(0, len(validation), rows)]
        for done, (batches, chosen) in enumerate(planned, start=1):
            batches.append(self._record(lm, chosen, start))
            if progress is not None:
                progress(done, len(planned))

    @property
    def batches(self) -> int:
        """How many training batches."""
        return len(self._training)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The cores'."""
        return self._edited.cores.parameters

    def terms(self, batch: int, step: int) -> dict[str, Float[Tensor, ""]]:
        """The two terms; that of the controls only where there are some."""
        return self._means([self._training[batch]])

    def validation(self) -> Float[Tensor, ""]:
        """The same on the validation questions."""
        return torch.stack([*self._means(self._validation).values()]).sum()

    def _means(self, batches: Sequence[_Batch]) -> dict[str, Float[Tensor, ""]]:
        label = torch.cat([batch.label for batch in batches])
        at_rest = torch.cat([batch.at_rest for batch in batches])
        odds = torch.cat([self._log_odds(batch) for batch in batches], dim=1)
        target = label != 0
        found = {"labels": softplus(-self._alphas * label * odds)[:, target].mean()}
        if not target.all():
            found["controls"] = self._control_weight * (odds - at_rest)[:, ~target].square().mean()
        return found

    def _log_odds(self, batch: _Batch) -> Float[Tensor, "copy question"]:
        states = self._edited.run(batch.replay, {self._last: batch.places})[self._last]
        return batch.answers.log_odds(self._log_probs(states))

    def _log_probs(self, states: Float[Tensor, "copy row 1 d_model"]) -> Float[Tensor, "copy row vocabulary"]:
        with computing(self._edited.lm):
            logits = self._head(self._head.norm(states.squeeze(2)))
        return logits.float().log_softmax(-1)

    @torch.no_grad()
    def _record(self, lm: LM, questions: Sequence[Question], start: int) -> _Batch:
        asked = in_tokens(lm, [one.prompt for one in questions], [one.classes for one in questions])
        rows, answers = AnswerTokens.of(asked, lm.device)
        layout = lay_out(lm, rows)
        places = layout.last(1)
        with computing(lm):
            replay = Replay.record(lm, layout, start=start, reads={self._last: places})
        at_rest = answers.log_odds(self._log_probs(replay.reference[self._last].unsqueeze(0)))[0]
        label = torch.tensor([float(one.label or 0) for one in questions], device=lm.device)
        return _Batch(replay, places, answers, label, at_rest)


def validation_clusters(questions: Questions, seed: int) -> set[str]:
    """Which clusters are kept for validation: a quarter of those with targets, and a quarter of the controls'.

    Raises `UsageError` where fewer than two clusters have targets.
    """
    targets = {one.cluster for one in questions.targets}
    if len(targets) < 2:
        raise UsageError(
            f"{questions.name} has labelled questions in {len(targets)} clusters; give at least 2, one for validation"
        )
    controls = {one.cluster for one in questions.controls} - targets
    kept: set[str] = set()
    for clusters, least in ((targets, 1), (controls, 0)):
        count = max(least, round(VALIDATION_SHARE * len(clusters)))
        kept.update(random.Random(seed).sample(sorted(clusters), min(count, len(clusters) - least)))
    return kept


def _batches(questions: Sequence[Question], rows: int, seed: int) -> list[list[Question]]:
    """Targets in an order drawn by the seed, so many to a batch, each with some of the controls."""
    targets = [one for one in questions if one.kind == "target"]
    controls = [one for one in questions if one.kind == "control"]
    for of in (targets, controls):
        random.Random(seed).shuffle(of)
    each = min(len(controls), math.ceil(CONTROLS_PER_TARGET * rows))
    found = []
    for number, first in enumerate(range(0, len(targets), rows)):
        own = [controls[(number * each + place) % len(controls)] for place in range(each)]
        found.append([*targets[first : first + rows], *own])
    return found
