"""The training loop: its rate, its order, what it keeps, what it survives, and that it never waits for the device."""

import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from gnomon.errors import Failure, UsageError
from gnomon.training.loop import Order, Schedule, train

FEW = settings(max_examples=15, deadline=None, derandomize=True)


class Regression:
    """Least squares on random batches: `w` and `b` are trained, the terms are the error and a small penalty."""

    def __init__(self, batches: int = 5, rows: int = 8, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.x = torch.randn(batches, rows, 3, generator=draw)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(batches, rows, generator=draw)
        self.parameters = {"w": torch.zeros(3, requires_grad=True), "b": torch.zeros((), requires_grad=True)}
        self.batches = batches
        self.seen: list[int] = []
        self.at: dict[int, Callable[[], Any]] = {}  # optimiser steps made before -> what happens then

    def terms(self, batch: int, step: int) -> dict[str, torch.Tensor]:
        self.seen.append(batch)
        if step in self.at:
            self.at[step]()
        error = self.x[batch] @ self.parameters["w"] + self.parameters["b"] - self.y[batch]
        return {"error": error.square().mean(), "penalty": 1e-3 * self.parameters["w"].square().sum()}

    def validation(self) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        return (self.x @ self.parameters["w"] + self.parameters["b"] - self.y).square().mean()

    def now(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters.values()]


class Scripted(Regression):
    """Its validations are what a list says; what the parameters were at each is remembered."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values
        self.were: list[list[torch.Tensor]] = []

    def validation(self) -> torch.Tensor:
        self.were.append(self.now())
        return torch.tensor(self.values[len(self.were) - 1])


def schedule(**changed: Any) -> Schedule:
    return Schedule(
        **{"steps": 60, "learning_rate": 0.05, "validate_every": 20, "report_every": 10, **changed}
    )


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


# -- rate and order ----------------------------------------------------------------------------------------------------


@FEW
@given(
    steps=st.integers(2, 100),
    share=st.floats(0, 0.9),
    start=st.floats(1, 100),
    end=st.floats(1, 1e5),
    highest=st.floats(1e-5, 1.0),
)
def test_the_rate_is_torchs_one_cycle(steps, share, start, end, highest) -> None:
    if share * steps == 1:
        return  # torch divides by zero where the rise is one step long
    own = Schedule(
        steps=steps, learning_rate=highest, warmup_share=share, start_divisor=start, end_divisor=end
    )
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = OneCycleLR(
        optimiser, highest, total_steps=steps, pct_start=share, div_factor=start, final_div_factor=end
    )
    for step in range(steps):
        assert own.rate(step) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        optimiser.step()
        if step < steps - 1:
            theirs.step()


def test_the_rate_that_is_reported_is_the_rate_that_was_used(tmp_path: Path) -> None:
    def used(learning_rate: float) -> float:
        objective = Regression(batches=1)
        train(objective, schedule(steps=1, learning_rate=learning_rate, clip=1e9), seed=0)
        return float(objective.parameters["b"].detach().abs())

    # Adam's first step is as long as its rate, whatever the gradient is.
    assert used(0.1) == pytest.approx(schedule(steps=1, learning_rate=0.1).rate(0), rel=1e-3)
    train(Regression(), schedule(report_every=1), seed=0, folder=tmp_path)
    rates = [event["learning_rate"] for event in events(tmp_path) if event["event"] == "step"]
    assert rates == [schedule().rate(step) for step in range(60)]
    assert max(rates) == pytest.approx(0.05, rel=1e-3)


@FEW
@given(batches=st.integers(1, 12), seed=st.integers(0, 10**6), epochs=st.integers(1, 4))
def test_every_epoch_has_every_batch_once(batches, seed, epochs) -> None:
    order = Order(batches, seed)
    drawn = [order.batch(position) for position in range(batches * epochs)]
    for epoch in range(epochs):
        assert sorted(drawn[epoch * batches : (epoch + 1) * batches]) == list(range(batches))
    backwards = Order(batches, seed)
    assert drawn == [backwards.batch(position) for position in reversed(range(batches * epochs))][::-1]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(Order(10, seed).batch(10 * epoch + place) for place in range(10))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_batches_come_in_that_order() -> None:
    objective = Regression()
    train(objective, schedule(steps=7, accumulation=2), seed=4)
    assert objective.seen == [Order(5, 4).batch(position) for position in range(14)]


def test_accumulated_batches_are_one_large_batch() -> None:
    small, large = Regression(batches=2, rows=8), Regression(batches=1, rows=16)
    large.x, large.y = small.x.reshape(1, 16, 3), small.y.reshape(1, 16)
    gradients: dict[int, list[float]] = {1: [], 2: []}
    for objective, accumulation in ((small, 2), (large, 1)):
        handle = register_optimizer_step_pre_hook(
            # Adam is blind to a gradient's size, so that is looked at before it steps.
            lambda optimiser, *_, own=gradients[accumulation]: own.append(
                float(optimiser.param_groups[0]["params"][0].grad.norm())
            )
        )
        trained = train(objective, schedule(steps=30, accumulation=accumulation, clip=1e9), seed=0)
        handle.remove()
        assert len(objective.seen) == 30 * accumulation
        objective.losses = trained.losses
    assert gradients[2] == pytest.approx(gradients[1], rel=1e-3)
    for one, other in zip(small.now(), large.now(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    for one, other in zip(small.losses, large.losses, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_long_gradient_is_clipped() -> None:
    norms: list[float] = []
    handle = register_optimizer_step_pre_hook(
        lambda optimiser, *_: norms.append(
            float(torch.stack([p.grad.norm() for p in optimiser.param_groups[0]["params"]]).norm())
        )
    )
    train(Regression(), schedule(steps=10, clip=0.5), seed=0)
    handle.remove()
    assert max(norms) == pytest.approx(0.5, rel=1e-3)


def test_it_finds_the_least_squares() -> None:
    objective = Regression()
    trained = train(objective, schedule(steps=150, learning_rate=0.3), seed=0)
    torch.testing.assert_close(
        objective.parameters["w"].detach(), torch.tensor([1.0, -2.0, 0.5]), atol=0.1, rtol=0
    )
    assert trained.best < 0.02
    assert trained.steps == 150
    assert trained.losses[-1]["error"] < 0.02 < trained.losses[0]["error"]


def test_it_trains_where_gradients_are_switched_off_around_it() -> None:
    objective, other = Regression(), Regression()
    with torch.no_grad():
        train(objective, schedule(), seed=0)
    train(other, schedule(), seed=0)
    assert same(objective.now(), other.now())


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_the_parameters_of_the_best_validation_come_back() -> None:
    objective = Scripted([3.0, 1.0, 2.0])
    trained = train(objective, schedule(), seed=0)
    assert (trained.best, trained.best_step) == (1.0, 40)
    assert trained.validations == [(20, 3.0), (40, 1.0), (60, 2.0)]
    assert same(objective.now(), objective.were[1])
    assert not same(objective.were[1], objective.were[2])


def test_of_equal_validations_the_first_is_kept() -> None:
    objective = Scripted([2.0, 1.0, 1.0])
    assert train(objective, schedule(), seed=0).best_step == 40


def test_without_keeping_the_best_the_last_stay_and_nothing_is_validated() -> None:
    last = Regression()
    trained = train(last, schedule(), seed=0, keep_best=False)
    scripted = Scripted([1.0, 2.0, 3.0])
    train(scripted, schedule(), seed=0)
    assert same(last.now(), scripted.were[2])
    assert (trained.validations, math.isnan(trained.best)) == ([], True)


def test_it_stops_when_no_validation_was_better_for_long(tmp_path: Path) -> None:
    wishes = schedule(steps=200, patience=2)
    objective = Scripted([5.0, 4.0, 4.5, 4.0, 1.0])
    trained = train(objective, wishes, seed=0, folder=tmp_path)
    assert (trained.steps, trained.best_step) == (80, 40)
    assert same(objective.now(), objective.were[1])
    again = Scripted([])
    assert train(again, wishes, seed=0, folder=tmp_path) == trained  # it does not go on
    assert same(again.now(), objective.now())


# -- what is not finite ------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_told_with_its_step_and_the_last_good_state_kept(tmp_path: Path) -> None:
    wishes = schedule(checkpoint_every=5)
    objective = Regression()
    # The 8th step; the next report is after the 10th.
    objective.at[7] = lambda: objective.y.fill_(math.nan)
    with pytest.raises(
        Failure, match=r"loss was not finite at step 8; the state of step 5 is kept in .*lower"
    ):
        train(objective, wishes, seed=0, folder=tmp_path)
    whole = Regression()
    wanted: list[list[torch.Tensor]] = []
    whole.at[5] = lambda: wanted.append(whole.now())
    train(whole, wishes, seed=0)
    kept = Regression()
    found: list[list[torch.Tensor]] = []
    kept.at[5] = lambda: found.append(kept.now())
    train(kept, wishes, seed=0, folder=tmp_path)
    assert kept.seen == whole.seen[5:]
    assert same(found[0], wanted[0])
    assert same(kept.now(), whole.now())


def test_a_gradient_that_is_not_finite_is_told_too() -> None:
    objective = Regression()

    class Root(Regression):
        def terms(self, batch: int, step: int) -> dict[str, torch.Tensor]:
            # At zero a root is finite and its slope is not.
            return super().terms(batch, step) | {"root": (self.parameters["b"] * (step == 12)).abs().sqrt()}

    objective = Root()
    with pytest.raises(Failure, match=r"not finite at step 1; train again"):
        train(objective, schedule(), seed=0)


def test_a_validation_that_is_not_finite_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="validation loss was not finite at step 40"):
        train(Scripted([1.0, math.nan, 2.0]), schedule(), seed=0, folder=tmp_path)
    assert [event["step"] for event in events(tmp_path)] == [10, 20, 20, 30, 40]


def test_nothing_is_said_to_be_kept_where_nothing_was(tmp_path: Path) -> None:
    objective = Regression()
    objective.at[3] = lambda: objective.y.fill_(math.inf)
    with pytest.raises(Failure, match=r"^the loss was not finite at step 4; train again"):
        train(objective, schedule(), seed=0, folder=tmp_path)


# -- the device is not waited for --------------------------------------------------------------------------------------


class Reading(TorchDispatchMode):
    """Notes when a number is read back from a tensor, outside the optimiser, whose step counters are on the CPU."""

    def __init__(self, objective: Regression) -> None:
        super().__init__()
        self.objective = objective
        self.steps: list[int] = []
        self.in_optimiser = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        if reads and not self.in_optimiser:
            self.steps.append(len(self.objective.seen))
        return function(*args, **(kwargs or {}))


def test_nothing_is_read_from_the_device_between_reports() -> None:
    objective = Regression()
    reading = Reading(objective)
    before = register_optimizer_step_pre_hook(lambda *_: setattr(reading, "in_optimiser", True))
    after = register_optimizer_step_post_hook(lambda *_: setattr(reading, "in_optimiser", False))
    try:
        with reading:
            train(objective, schedule(), seed=0)
    finally:
        before.remove()
        after.remove()
    # The guard and two terms at every report, and three validations.
    assert set(reading.steps) == {10, 20, 30, 40, 50, 60}
    assert len(reading.steps) == 6 * 3 + 3


# -- killed and run again ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def die() -> None:
    raise Killed


@pytest.mark.parametrize("moments", [(3,), (29,), (30,), (44, 7, 59)])
def test_a_broken_training_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, moments: tuple[int, ...]
) -> None:
    wishes = schedule(checkpoint_every=15, accumulation=2)
    whole = Regression()
    unbroken = train(whole, wishes, seed=3, folder=tmp_path / "whole")
    folder = tmp_path / "broken"
    for moment in moments:
        objective = Regression()
        objective.at[moment] = die
        with pytest.raises(Killed) if not _past(folder, moment) else _nothing():
            train(objective, wishes, seed=3, folder=folder)
    again = Regression()
    assert train(again, wishes, seed=3, folder=folder) == unbroken
    assert same(again.now(), whole.now())
    assert len(again.seen) < 120 or moments == (3,)
    for name in ("events.jsonl", "checkpoint.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _past(folder: Path, moment: int) -> bool:
    from safetensors import safe_open

    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return False
    with safe_open(path, framework="pt") as file:
        return bool(json.loads(file.metadata()["training"])["where"]["step"] > moment)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_ctrl_c_leaves_a_checkpoint_that_can_be_used(tmp_path: Path) -> None:
    wishes = schedule(checkpoint_every=10)
    objective = Regression()
    objective.at[33] = lambda: signal.raise_signal(signal.SIGINT)
    # A process that was started in the background ignores the signal unless it is told otherwise.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(objective, wishes, seed=0, folder=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    again, whole = Regression(), Regression()
    train(again, wishes, seed=0, folder=tmp_path)
    train(whole, wishes, seed=0)
    assert len(again.seen) == 30
    assert same(again.now(), whole.now())


def test_a_finished_training_is_only_loaded(tmp_path: Path) -> None:
    first, again = Regression(), Regression()
    trained = train(first, schedule(), seed=0, folder=tmp_path)
    content = (tmp_path / "events.jsonl").read_bytes()
    assert train(again, schedule(), seed=0, folder=tmp_path) == trained
    assert again.seen == []
    assert same(again.now(), first.now())
    assert (tmp_path / "events.jsonl").read_bytes() == content


@pytest.mark.parametrize("other", [{"seed": 1}, {"steps": 61}, {"about": {"texts": "b"}}, {"batches": 7}])
def test_a_folder_of_another_training_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    def run(seed: int = 0, steps: int = 60, about: dict[str, Any] | None = None, batches: int = 5) -> None:
        about = {"batches": batches, **(about or {"texts": "a"})}
        train(Regression(batches), schedule(steps=steps), seed=seed, folder=tmp_path, about=about)

    run()
    run()
    with pytest.raises(UsageError, match=r"holds another training .*another folder"):
        run(**other)


# -- what is said on the way -------------------------------------------------------------------------------------------


def test_events_say_every_report_and_validation_once(tmp_path: Path) -> None:
    trained = train(Regression(), schedule(), seed=0, folder=tmp_path)
    found = events(tmp_path)
    assert [event["step"] for event in found if event["event"] == "step"] == [10, 20, 30, 40, 50, 60]
    own = [{k: event[k] for k in ("step", "error", "penalty")} for event in found if event["event"] == "step"]
    assert own == trained.losses
    validations = [event for event in found if event["event"] == "validation"]
    assert [(event["step"], event["value"]) for event in validations] == trained.validations
    assert validations[0]["best"] is True


def test_a_reported_term_is_its_mean_since_the_last_report() -> None:
    class Counting(Regression):
        def terms(self, batch: int, step: int) -> dict[str, torch.Tensor]:
            return {"count": self.parameters["b"] * 0 + step, "half": self.parameters["b"] * 0 + 0.5}

    trained = train(Counting(), schedule(steps=20, accumulation=3, report_every=10), seed=0)
    assert trained.losses == [
        {"step": 10, "count": pytest.approx(4.5), "half": pytest.approx(0.5)},
        {"step": 20, "count": pytest.approx(14.5), "half": pytest.approx(0.5)},
    ]


def test_progress_counts_every_step_once_and_begins_where_a_broken_training_was(tmp_path: Path) -> None:
    said: list[tuple[int, str]] = []

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        assert (stage, total) == ("training it", 60)
        yield lambda steps=1, words="": said.append((steps, words))

    def run(objective: Regression) -> None:
        train(
            objective,
            schedule(checkpoint_every=30),
            seed=0,
            folder=tmp_path,
            stage="training it",
            progress=progress,
        )

    objective = Regression()
    objective.at[45] = die
    with pytest.raises(Killed):
        run(objective)
    assert sum(steps for steps, _ in said) == 40
    said.clear()
    run(Regression())
    assert said[0] == (30, "")
    assert sum(steps for steps, _ in said) == 60
    assert said[-1][1].startswith("error ")
    assert "penalty " in said[-1][1]
