"""A training's state on disk: it comes back as it was, damage and other trainings are noticed, a full disk is told."""

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.errors import Failure, UsageError
from gnomon.training.checkpoint import Checkpoint, Log

IDENTITY = {"schedule": {"steps": 10}, "seed": 0}


def opened(
    folder: Path | None, identity: dict[str, Any] = IDENTITY, width: int = 3
) -> tuple[Checkpoint, Any, Any]:
    parameters = {"w": torch.zeros(width, requires_grad=True), "idle": torch.ones(2, requires_grad=True)}
    optimiser = torch.optim.AdamW(parameters.values(), lr=0.1)
    return Checkpoint.start(parameters, optimiser, folder, identity), parameters, optimiser


def stepped(state: Checkpoint, parameters: Any, optimiser: Any, steps: int) -> None:
    """Some steps of Adam on `w`; `idle` never has a gradient."""
    for _ in range(steps):
        optimiser.zero_grad()
        ((parameters["w"] - torch.tensor([1.0, -1.0, 3.0])) ** 2).sum().backward()
        optimiser.step()
        state.step += 1


def saved(folder: Path) -> tuple[Checkpoint, Any, Any]:
    state, parameters, optimiser = opened(folder)
    stepped(state, parameters, optimiser, 4)
    state.losses.append({"step": 4, "error": 0.1})
    state.validated(0.7, None)
    stepped(state, parameters, optimiser, 2)
    state.validated(0.9, None)
    state.save()
    return state, parameters, optimiser


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    first, was, optimiser = saved(tmp_path)
    again, now, other = opened(tmp_path)
    assert (again.step, again.best, again.best_step, again.stopped, again.saved) == (6, 0.7, 4, False, 6)
    assert again.losses == first.losses
    assert again.validations == first.validations == [(4, 0.7), (6, 0.9)]
    for name in was:
        assert torch.equal(was[name], now[name])
    for state, parameters, optimiser_ in ((first, was, optimiser), (again, now, other)):
        stepped(state, parameters, optimiser_, 3)
    assert torch.equal(was["w"], now["w"])
    for state in (first, again):
        state.restore_best()
    assert torch.equal(was["w"], now["w"])
    fresh, start, adam = opened(None)
    stepped(fresh, start, adam, 4)
    assert torch.equal(was["w"], start["w"])  # as it was at the best validation


def test_without_a_folder_nothing_is_kept() -> None:
    state, _, _ = opened(None)
    state.save()
    assert (state.path, state.saved) == (None, None)


def test_a_state_before_any_validation_has_no_best(tmp_path: Path) -> None:
    state, parameters, optimiser = opened(tmp_path)
    stepped(state, parameters, optimiser, 1)
    state.save()
    again, now, _ = opened(tmp_path)
    assert again.best != again.best
    again.restore_best()
    assert torch.equal(now["w"], parameters["w"])


def test_patience_counts_validations_since_the_best() -> None:
    state, _, _ = opened(None)
    stops = []
    for value in (3.0, 2.0, 2.5, 2.0, 1.0, 1.5, 1.5, 1.5):
        state.step += 10
        state.validated(value, 3)
        stops.append(state.stopped)
    assert stops == [False] * 7 + [True]
    assert state.best_step == 50


@pytest.mark.parametrize("place", ["header", "tensors", "end", "empty", "text"])
def test_a_damaged_file_is_told(tmp_path: Path, place: str) -> None:
    saved(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little") + 8
    where = {
        "header": range(8, header, max(1, header // 20)),
        "tensors": range(header, len(content), 7),
        "end": [0],
        "empty": [0],
        "text": [0],
    }[place]
    flips = random.Random(0)
    for at in where:
        damaged = bytearray(content)
        damaged[at] ^= 1 << flips.randrange(8)
        path.write_bytes(
            {"end": content[:-5], "empty": b"", "text": b"not a checkpoint"}.get(place, bytes(damaged))
        )
        with pytest.raises(
            UsageError, match=r"checkpoint.safetensors is damaged; delete it|another training"
        ):
            opened(tmp_path)


@pytest.mark.parametrize(
    "other", [{"identity": {**IDENTITY, "seed": 1}}, {"identity": {**IDENTITY, "about": {}}}, {"width": 4}]
)
def test_another_training_is_refused_and_its_file_left_alone(tmp_path: Path, other: dict[str, Any]) -> None:
    saved(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(UsageError, match="holds another training"):
        opened(tmp_path, **other)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    opened(tmp_path)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"disk is full at .*free some space"),
        (errno.EROFS, r"cannot be written.*another folder"),
    ],
)
def test_a_disk_that_refuses_is_told_and_the_file_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    state, parameters, optimiser = saved(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    stepped(state, parameters, optimiser, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(Failure, match=said):
            state.save()
        with pytest.raises(Failure, match=said):
            Log(tmp_path / "other", 0)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert opened(tmp_path)[0].step == state.saved == 6
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("call", ["open", "replace", "fsync"])
def test_dying_in_the_middle_of_a_save_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    class Killed(BaseException):
        pass

    state, parameters, optimiser = saved(tmp_path)
    stepped(state, parameters, optimiser, 1)

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, die)
        with pytest.raises(Killed):
            state.save()
    assert opened(tmp_path)[0].step == 6


def test_what_was_written_after_the_checkpoint_leaves_the_log(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    for step in (10, 20, 30):
        log.event("step", step=step, loss=1.0 / step)
    log.event("validation", step=30, value=0.5)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "step", "st')  # what a killed process leaves
    Log(tmp_path, 20).event("step", step=30, loss=2.0)
    found = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert found == [
        {"event": "step", "step": 10, "loss": 0.1},
        {"event": "step", "step": 20, "loss": 0.05},
        {"event": "step", "step": 30, "loss": 2.0},
    ]


def test_without_a_folder_there_is_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Log(None, 0).event("step", step=1)
    assert list(tmp_path.iterdir()) == []
