"""The state of a training on disk: one safetensors file that is whole or the one before, and a log of events.

Knows tensors and a folder; knows nothing of models or losses.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnomon.errors import UsageError
from gnomon.runs import storage

FORMAT = 1


class Checkpoint:
    """Parameters, Adam's moments, the best parameters so far, and where the training is.

    Attributes:
        step: Optimiser steps made.
        best: The best validation; NaN before the first.
        best_step: The step that it was made after.
        stopped: Whether no validation was better for too long.
        losses: Every report: the step, and the mean of each loss term since the last one.
        validations: (step, value) of every validation.
        path: The file; None where nothing is kept.
        saved: The step whose state is in the file; None where there is none.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        folder: Path | None,
        about: dict[str, Any],
    ) -> None:
        self.step = 0
        self.best = math.nan
        self.best_step = 0
        self.stopped = False
        self.losses: list[dict[str, float]] = []
        self.validations: list[tuple[int, float]] = []
        self.path = None if folder is None else folder / "checkpoint.safetensors"
        self.saved: int | None = None
        self._parameters = parameters
        self._optimiser = optimiser
        self._best = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self._about = about

    @classmethod
    def start(
        cls,
        parameters: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        folder: Path | None,
        identity: dict[str, Any],
    ) -> Checkpoint:
        """A new training, or the one that the folder holds, as far as it got.

        Args:
            parameters: What is trained, by name; a checkpoint puts its own values into them.
            optimiser: Their Adam or AdamW.
            folder: Where the file is; None keeps nothing.
            identity: What tells this training from another, in JSON's types.

        Raises:
            UsageError: The folder holds another training, or the checkpoint is damaged.
        """
        shapes = {name: list(tensor.shape) for name, tensor in parameters.items()}
        about = {"format": FORMAT, "shapes": shapes, **identity}
        state = cls(parameters, optimiser, folder, about)
        if state.path is not None and state.path.exists():
            state._load(state.path)
        return state

    def validated(self, value: float, patience: int | None, patient_until: int = 0) -> bool:
        """Note a validation; keep the parameters if it is the best, and stop when none was better for long."""
        self.validations.append((self.step, value))
        better = not value >= self.best and not math.isnan(value)
        if better:
            self.best, self.best_step = value, self.step
            self._best = {name: tensor.detach().clone() for name, tensor in self._parameters.items()}
        waited = sum(step > max(self.best_step, patient_until) for step, _ in self.validations)
        self.stopped = patience is not None and waited >= patience
        return better

    def restore_best(self) -> None:
        """Put the best parameters back; nothing where no validation was finite."""
        if math.isnan(self.best):
            return
        with torch.no_grad():
            for name, tensor in self._parameters.items():
                tensor.copy_(self._best[name])

    def save(self) -> None:
        """Write the state; a crash leaves the one before."""
        if self.path is None:
            return
        from safetensors.torch import save

        tensors = {f"now/{name}": tensor for name, tensor in self._parameters.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        for name, tensor in self._parameters.items():
            # Empty for a parameter that never had a gradient.
            held = self._optimiser.state.get(tensor, {})
            tensors |= {f"optimiser/{name}/{key}": value for key, value in held.items()}
        where = {
            "step": self.step,
            # JSON has no NaN.
            "best": None if math.isnan(self.best) else self.best,
            "best_step": self.best_step,
            "stopped": self.stopped,
            "losses": self.losses,
            "validations": self.validations,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        # One key, because safetensors writes several in any order.
        about = {"about": self._about, "where": where, "sha256": _digest(tensors, where)}
        content = save(tensors, metadata={"training": json.dumps(about, sort_keys=True)})
        storage.write(self.path, content)
        self.saved = self.step

    def _load(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with storage.disk(path), safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            written = json.loads(metadata["training"])
            if written["sha256"] != _digest(tensors, written["where"]):
                raise ValueError("its content is not what was written")
            mine = written["about"] == self._about
            if mine:
                self._restore(tensors, written["where"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise UsageError(
                f"the checkpoint {path} is damaged; delete it to train from the beginning"
            ) from error
        if not mine:
            raise UsageError(
                f"{path.parent} holds another training (other settings, seed, model or texts); give another folder or "
                "delete it"
            )

    @torch.no_grad()
    def _restore(self, tensors: Mapping[str, Tensor], where: Mapping[str, Any]) -> None:
        self.step = self.saved = where["step"]
        self.best_step, self.stopped = where["best_step"], where["stopped"]
        self.best = math.nan if where["best"] is None else where["best"]
        self.losses = where["losses"]
        self.validations = [(step, value) for step, value in where["validations"]]
        for name, tensor in self._parameters.items():
            tensor.copy_(tensors[f"now/{name}"])
            self._best[name] = tensors[f"best/{name}"].to(tensor.device)
            prefix = f"optimiser/{name}/"
            held = {key.removeprefix(prefix): own for key, own in tensors.items() if key.startswith(prefix)}
            if held:
                # Adam counts its steps on the CPU.
                self._optimiser.state[tensor] = {
                    key: own if key == "step" else own.to(tensor.device) for key, own in held.items()
                }


def _digest(tensors: Mapping[str, Tensor], where: Mapping[str, Any]) -> str:
    """Of the content, because safetensors does not notice a changed number."""
    digest = hashlib.sha256(json.dumps(where, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Log:
    """`events.jsonl` of a training's folder, a line per event; what a killed training wrote beyond its checkpoint goes."""

    def __init__(self, folder: Path | None, step: int) -> None:
        self._path = None if folder is None else folder / "events.jsonl"
        if self._path is None:
            return
        lines = storage.read(self._path).splitlines() if self._path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        storage.write(self._path, b"".join(line + b"\n" for line in kept))

    def event(self, kind: str, **fields: Any) -> None:
        """Append an event."""
        if self._path is not None:
            storage.append(self._path, storage.to_json({"event": kind, **fields}))


def _step_of(line: bytes) -> float:
    """A line's step; infinite for a line that a crash cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
