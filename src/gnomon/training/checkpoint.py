"""The state of a training on disk: one safetensors file that is whole or the one before, and a log of events.

Knows tensors and a folder; knows nothing of models or losses.
"""

from __future__ import annotations

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
    """Parameters, the optimiser's moments, the best parameters so far, and where the training is."""

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
        self._parameters = parameters
        self._optimiser = optimiser
        self._best = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self._path = None if folder is None else folder / "checkpoint.safetensors"
        self._about = about

    @classmethod
    def start(
        cls,
        parameters: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        folder: Path | None,
        schedule: dict[str, Any],
        seed: int,
    ) -> Checkpoint:
        """A new training, or the one that the folder holds, as far as it got.

        Raises:
            UsageError: The folder holds another training.
        """
        shapes = {name: list(tensor.shape) for name, tensor in parameters.items()}
        about = {"format": FORMAT, "schedule": schedule, "seed": seed, "shapes": shapes}
        state = cls(parameters, optimiser, folder, about)
        if state._path is not None and state._path.exists():
            state._load(state._path)
        return state

    def validated(self, value: float, patience: int | None) -> bool:
        """Note a validation; keep the parameters if it is the best, and stop when none was better for long."""
        self.validations.append((self.step, value))
        better = not value >= self.best and not math.isnan(value)
        if better:
            self.best, self.best_step = value, self.step
            self._best = {name: tensor.detach().clone() for name, tensor in self._parameters.items()}
        waited = sum(step > self.best_step for step, _ in self.validations)
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
        if self._path is None:
            return
        from safetensors.torch import save

        tensors = {f"now/{name}": tensor for name, tensor in self._parameters.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        for name, tensor in self._parameters.items():
            held = self._optimiser.state[tensor]
            tensors |= {f"optimiser/{name}/{key}": held[key] for key in ("step", "exp_avg", "exp_avg_sq")}
        where = {
            "step": self.step,
            # JSON has no NaN.
            "best": None if math.isnan(self.best) else self.best,
            "best_step": self.best_step,
            "stopped": self.stopped,
            "losses": self.losses,
            "validations": self.validations,
        }
        metadata = {"about": json.dumps(self._about, sort_keys=True), "where": json.dumps(where)}
        content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata=metadata)
        storage.write(self._path, content)

    def _load(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            about, where = json.loads(metadata["about"]), json.loads(metadata["where"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise UsageError(
                f"the checkpoint {path} is damaged; delete it to train from the beginning"
            ) from error
        if about != self._about:
            raise UsageError(
                f"{path.parent} holds another training (other settings, seed or model); give another folder or delete it"
            )
        self.step, self.best_step, self.stopped = where["step"], where["best_step"], where["stopped"]
        self.best = math.nan if where["best"] is None else where["best"]
        self.losses = where["losses"]
        self.validations = [(step, value) for step, value in where["validations"]]
        with torch.no_grad():
            for name, tensor in self._parameters.items():
                tensor.copy_(tensors[f"now/{name}"])
                self._best[name] = tensors[f"best/{name}"].to(tensor.device)
                keys = ("step", "exp_avg", "exp_avg_sq")
                held = {key: tensors[f"optimiser/{name}/{key}"] for key in keys}
                # Adam counts its steps on the CPU.
                self._optimiser.state[tensor] = {
                    key: value if key == "step" else value.to(tensor.device) for key, value in held.items()
                }


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
