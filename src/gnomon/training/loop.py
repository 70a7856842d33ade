"""The one training loop: batches in, the best parameters out, whatever the objective is.

An optimiser step never waits for the device: loss terms are added up there and read every `report_every` steps, where
progress, events, the guard against numbers that are not finite, and the checkpoint are. The learning rate and the order of
the batches are functions of the step and the seed, so a killed training goes on as if nothing had happened, bit for bit
on a CPU. Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from gnomon.errors import Failure
from gnomon.runs import Progress
from gnomon.runs import progress as default_progress
from gnomon.training.checkpoint import Checkpoint, Log


class Schedule(BaseModel):
    """How long and how fast: AdamW under a one-cycle learning rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(500, ge=1, description="optimiser steps")
    learning_rate: float = Field(1e-2, gt=0, description="highest learning rate")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of the steps in which it rises")
    start_divisor: float = Field(25.0, ge=1, description="the rate begins at the highest over this")
    end_divisor: float = Field(1e4, ge=1, description="and ends at its beginning over this")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    clip: float = Field(1.0, gt=0, description="longest gradient")
    accumulation: int = Field(1, ge=1, description="batches per optimiser step")
    validate_every: int = Field(50, ge=1, description="steps between validations")
    patience: int | None = Field(None, ge=1, description="validations without a better one before it stops")
    patient_until: int = Field(0, ge=0, description="the step from which such validations count")
    report_every: int = Field(10, ge=1, description="steps between looks at the loss")
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")

    def rate(self, step: int) -> float:
        """Learning rate of a step: up along half a cosine, then down along another (Smith & Topin 2018)."""
        first = self.learning_rate / self.start_divisor
        last = first / self.end_divisor
        peak = self.warmup_share * self.steps - 1
        if step <= peak:
            return _cosine(first, self.learning_rate, step / peak) if peak > 0 else self.learning_rate
        return _cosine(self.learning_rate, last, (step - peak) / max(1.0, self.steps - 1 - peak))


class Objective(Protocol):
    """What is trained for."""

    @property
    def batches(self) -> int:
        """How many batches an epoch has."""
        ...

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What is trained, by name."""
        ...

    def terms(self, batch: int, step: int) -> dict[str, Float[Tensor, ""]]:
        """The weighted terms of the loss on one batch at an optimiser step; the loss is their sum."""
        ...

    def validation(self) -> Float[Tensor, ""]:
        """What the best checkpoint is chosen by, the smaller the better; called without gradients."""
        ...


@dataclass(frozen=True)
class Trained:
    """How a training went: the parameters are those of `best_step`.

    Attributes:
        best: The validation's value there; NaN where there was none.
        best_step: The optimiser step after which the parameters were taken.
        steps: How many steps were made.
        losses: Every `report_every` steps: the step and the mean of each loss term since the last one.
        validations: (step, value) of every validation.
    """

    best: float
    best_step: int
    steps: int
    losses: list[dict[str, float]] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)


@torch.enable_grad()
def train(
    objective: Objective,
    schedule: Schedule,
    *,
    seed: int,
    folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
    keep_best: bool = True,
    stage: str = "training",
    progress: Progress = default_progress,
) -> Trained:
    """Train the objective's parameters in place; afterwards they are those of the best validation.

    With a `folder`, a checkpoint and `events.jsonl` are kept there, and a training that was killed goes on from the
    checkpoint. `about` says in JSON's types what is trained on what; with another one, another schedule, seed or other
    shapes it is another training. Without `keep_best` the parameters of the last step stay.

    Raises:
        UsageError: The folder holds another training, or a damaged checkpoint.
        Failure: The loss is not finite; the message names the step, and the checkpoint holds the last good state.
    """
    parameters = dict(objective.parameters)
    optimiser = torch.optim.AdamW(
        parameters.values(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    identity = {"schedule": schedule.model_dump(mode="json"), "seed": seed, "about": dict(about or {})}
    state = Checkpoint.start(parameters, optimiser, folder, identity)
    log = Log(folder, state.step)
    order = Order(objective.batches, seed)
    sums: dict[str, Tensor] = {}
    bad: Tensor | None = None
    since = state.step
    validating = keep_best or schedule.patience is not None
    with progress(stage, schedule.steps) as advance:
        advance(state.step)
        while state.step < schedule.steps and not state.stopped:
            step = state.step
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(step)
            optimiser.zero_grad(set_to_none=True)
            total: Tensor | None = None
            for part in range(schedule.accumulation):
                terms = objective.terms(order.batch(step * schedule.accumulation + part), step)
                loss = torch.stack(list(terms.values())).sum() / schedule.accumulation
                torch.autograd.backward(loss)
                total = loss.detach() if total is None else total + loss.detach()
                for name, term in terms.items():
                    seen = term.detach() / schedule.accumulation
                    sums[name] = sums[name] + seen if name in sums else seen
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), schedule.clip)
            fine = torch.isfinite(norm) if total is None else torch.isfinite(norm) & torch.isfinite(total)
            # The first bad step (0: none), kept on the device: nothing is read back until the next report.
            found = torch.where(fine, 0, step + 1)
            bad = found if bad is None else torch.where(bad > 0, bad, found)
            optimiser.step()
            state.step = step + 1
            last = state.step == schedule.steps
            validate = validating and (state.step % schedule.validate_every == 0 or last)
            save = state.step % schedule.checkpoint_every == 0 or last
            # What is saved is looked at first, so a checkpoint is always good.
            if state.step % schedule.report_every == 0 or validate or save:
                if (first := int(bad)) > 0:
                    raise _not_finite("loss", first, state)
                count = state.step - since
                means = {name: float(value) / count for name, value in sums.items()}
                sums, since = {}, state.step
                state.losses.append({"step": state.step, **means})
                log.event("step", step=state.step, learning_rate=schedule.rate(step), **means)
                advance(count, " ".join(f"{name} {value:.3g}" for name, value in means.items()))
                if validate:
                    with torch.no_grad():
                        value = float(objective.validation())
                    if not math.isfinite(value):
                        raise _not_finite("validation loss", state.step, state)
                    better = state.validated(value, schedule.patience, schedule.patient_until)
                    log.event("validation", step=state.step, value=value, best=better)
                if save or state.stopped:
                    state.save()
    if keep_best:
        state.restore_best()
    return Trained(state.best, state.best_step, state.step, state.losses, state.validations)


class Order:
    """Which batch comes next: every epoch all of them once, in an order drawn from the seed and the epoch alone."""

    def __init__(self, batches: int, seed: int) -> None:
        self._batches = batches
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def batch(self, position: int) -> int:
        """The batch at a position of the whole training."""
        epoch, place = divmod(position, self._batches)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
            self._order = torch.randperm(self._batches, generator=generator).tolist()
            self._epoch = epoch
        return self._order[place]


def _not_finite(what: str, step: int, state: Checkpoint) -> Failure:
    """What went wrong, at which step (counted from 1, as in the events), and what is left."""
    kept = "" if state.saved is None else f"the state of step {state.saved} is kept in {state.path}; "
    return Failure(
        f"the {what} was not finite at step {step}; {kept}train again with a lower learning rate or in float32"
    )


def _cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * share)) / 2
