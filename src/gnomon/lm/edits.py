"""Edits: what changes a forward pass, and the hooks that apply it to the right rows and positions.

An edit says only *what is added* to a module's output at one coefficient; this file knows *where*: which rows
carry which coefficient, which positions are real, and whether the first token is included. It does not know
what an edit is made of (that is `dials`) nor where it came from (`methods`). Modules are hooked, never replaced.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from gnomon.errors import Failure, UsageError

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from gnomon.lm.model import LM

Delta = Callable[[Tensor], Tensor]
"""From a module's input `[batch, position, d_in]` to what is added to its output: a tensor that broadcasts to
`[batch, position, d_out]`, so a plain `[d_out]` vector for a constant. It sees any subset of a batch's rows."""


class Edit(Protocol):
    """One primitive change to a forward pass, scaled by a coefficient alpha."""

    def deltas(self, lm: LM, alpha: float) -> Iterable[tuple[nn.Module, Delta]]:
        """The modules to hook and what to add to each one's output at this (non-zero) alpha.

        Called once per context and distinct alpha: compute what depends on alpha alone here (alpha * vector,
        M(alpha)), in `lm.dtype` and on `lm.device_of(module)`, not inside the returned function, which runs in
        every forward. An edit of the text alone returns nothing.
        """
        ...

    def prefix(self, alpha: float) -> str | None:
        """The text put in front of the prompt at this alpha; None for an edit that leaves the text alone."""
        ...


class Steering(Protocol):
    """What the LM must know of a dial: its edits, and whether they include a sequence's first token."""

    @property
    def edits(self) -> Sequence[Edit]:
        """The edits, applied together at the same alpha."""
        ...

    @property
    def first_token(self) -> bool:
        """Whether the edits act on each sequence's first real token, an attention sink on most models."""
        ...


@dataclass(frozen=True)
class _Rows:
    """The rows of a batch by coefficient, so that an edit is computed per coefficient and never per row."""

    levels: tuple[float, ...]  # every coefficient of the batch
    members: tuple[Tensor, ...]  # the rows of each
    inverse: Tensor  # puts the concatenated members back in the order of the batch
    level_of: Tensor  # [batch], which of the levels each row has


@lru_cache(maxsize=64)
def _by_level(alphas: tuple[float, ...], device: torch.device) -> _Rows:
    levels = tuple(dict.fromkeys(alphas))
    # Kept for later forwards, which may need gradients that inference tensors refuse.
    with torch.inference_mode(False):
        level_of = torch.tensor([levels.index(alpha) for alpha in alphas], device=device)
        members = tuple((level_of == level).nonzero().squeeze(1) for level in range(len(levels)))
        return _Rows(levels, members, torch.cat(members).argsort(), level_of)


@dataclass(frozen=True)
class _Forward:
    """What one forward pass of the model looks like to the hooks inside it."""

    batch: int
    positions: int
    acts: Tensor | None  # [batch or 1, position, 1], True where the edits act; None: everywhere
    rows: _Rows


class Editing:
    """One active `with lm.edited(...)`: its hooks, and what it knows of the forward pass that is running.

    `alphas` holds one coefficient, or one per prompt. `rows`, set by the text-level methods around each of
    their forwards, names the prompt behind every row of the batch; in a caller's own forward it is None, and
    the rows are the prompts in order (each repeated alike where there are several rows per prompt).
    """

    def __init__(
        self, lm: LM, edits: Sequence[Edit], alpha: float | Sequence[float], first_token: bool
    ) -> None:
        self.per_prompt = not isinstance(alpha, int | float)
        self.alphas = (float(alpha),) if isinstance(alpha, int | float) else tuple(float(a) for a in alpha)
        if not self.alphas:
            raise UsageError("The list of coefficients is empty: give one alpha, or one per prompt.")
        if not all(math.isfinite(a) for a in self.alphas):
            raise UsageError(f"A coefficient must be a finite number, not {list(self.alphas)}.")
        self.edits = tuple(edits)
        self.first_token = first_token
        self.rows: Sequence[int] | None = None
        self._lm = lm
        self._depth = 0
        self._forward: _Forward | None = None
        # The coefficient of the whole batch, where every row has the same one and every position is edited.
        self._everywhere: float | None = None
        self._handles: list[RemovableHandle] = []

    @property
    def uniform(self) -> bool:
        """Whether all prompts share one coefficient."""
        return len(set(self.alphas)) == 1

    def alpha(self, prompt: int) -> float:
        """The coefficient of the prompt with this index."""
        return self.alphas[prompt if self.per_prompt else 0]

    def prefix(self, prompt: int) -> str:
        """The text that the edits put in front of the prompt with this index; empty where there is none."""
        return " ".join(text for edit in self.edits if (text := edit.prefix(self.alpha(prompt))))

    def attach(self) -> None:
        """Register the hooks; at alpha = 0 there are none, so the model is bitwise the base model."""
        levels = [alpha for alpha in dict.fromkeys(self.alphas) if alpha != 0]
        for edit in self.edits:
            functions: dict[nn.Module, dict[float, Delta]] = {}
            for alpha in levels:
                for module, delta in edit.deltas(self._lm, alpha):
                    functions.setdefault(module, {})[alpha] = delta
            for module, by_alpha in functions.items():
                self._handles.append(module.register_forward_hook(self._hook(by_alpha)))
        if self._handles:
            for module in self._lm.entrances:
                self._handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # The outermost module that is called sees the caller's own attention mask; the inner ones may not.
        if self._depth == 0:
            self._forward, self._everywhere = None, None
            self._forward = self._read(module, args, kwargs)
            if self._forward.acts is None and len(self._forward.rows.levels) == 1:
                self._everywhere = self._forward.rows.levels[0]
        self._depth += 1

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        # Not below zero: after an error in `_enter` torch still calls this hook.
        self._depth = max(0, self._depth - 1)

    def _read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Forward:
        if args:
            kwargs = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
        tokens = kwargs.get("input_ids")
        if tokens is None:
            tokens = kwargs.get("inputs_embeds")
        if tokens is None:
            raise UsageError("A steered forward needs input_ids or inputs_embeds to know its positions.")
        batch, positions = tokens.shape[:2]
        cache = kwargs.get("past_key_values")
        past = cache.get_seq_length() if cache is not None else 0
        acts = self._acting(kwargs.get("attention_mask"), past, batch, positions, tokens.device)
        rows = _by_level(self._alphas(batch), tokens.device)
        return _Forward(batch, positions, None if acts is None else acts.unsqueeze(-1), rows)

    def _acting(
        self, mask: Tensor | None, past: int, batch: int, positions: int, device: torch.device
    ) -> Tensor | None:
        """`[batch or 1, position]`: True where the edits act; None where that is every position."""
        if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2 or mask.shape[0] != batch):
            raise UsageError(
                "A steered forward tells padding from tokens by the attention_mask [batch, position]: pass that "
                "one, and a dynamic cache in generate()."
            )
        if mask is not None and mask.shape[1] < past + positions:
            raise UsageError(
                f"The attention_mask covers {mask.shape[1]} of {past + positions} cached and new positions: "
                "pass the mask of the whole sequence, so that padding is known."
            )
        if mask is None or bool(mask[:, : past + positions].all()):
            if past or self.first_token:
                return None
            return (torch.arange(positions, device=device) > 0).unsqueeze(0)
        acts = mask[:, past : past + positions].bool()
        if not self.first_token:
            begun = mask[:, :past].bool().any(dim=1, keepdim=True)
            acts = acts & (begun | (acts.cumsum(dim=1) > 1))
        return None if bool(acts.all()) else acts

    def _alphas(self, batch: int) -> tuple[float, ...]:
        """The coefficient of every row of the batch."""
        if self.rows is not None:
            alphas = tuple(self.alpha(row) for row in self.rows)
        elif batch % len(self.alphas):
            raise UsageError(
                f"{len(self.alphas)} coefficients cannot be shared out over a batch of {batch} rows: give one "
                "alpha, or one per row."
            )
        else:
            alphas = tuple(alpha for alpha in self.alphas for _ in range(batch // len(self.alphas)))
        if len(alphas) != batch:
            raise Failure(f"{len(alphas)} prompts were announced for a batch of {batch} rows.")
        return alphas

    def _hook(self, functions: dict[float, Delta]) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            hidden = output if isinstance(output, Tensor) else output[0]
            alpha = self._everywhere
            if alpha is None:
                edited = self._somewhere(functions, args[0], hidden)
            elif alpha == 0:
                return output
            else:
                edited = hidden + functions[alpha](args[0])
            return edited if isinstance(output, Tensor) else (edited, *output[1:])

        return hook

    def _somewhere(self, functions: dict[float, Delta], x: Tensor, y: Tensor) -> Tensor:
        """The edited output where rows differ in their coefficient or some positions are left alone."""
        forward = self._forward
        if forward is None:
            raise Failure("A steered module ran outside a forward of its model, so its padding is not known.")
        shape = (forward.batch, forward.positions)
        if y.numel() != forward.batch * forward.positions * y.shape[-1]:
            raise Failure(
                f"A steered module returned {tuple(y.shape)} in a forward of {shape} tokens: it does not see "
                "every position, so it can only be steered with one coefficient and without padding."
            )
        # Some modules (a router, a shared expert) see the positions of all rows in one long dimension.
        x, hidden = x.reshape(*shape, -1), y.reshape(*shape, -1)
        edited = hidden + _addition(forward.rows, functions, x, hidden)
        if forward.acts is not None:
            edited = torch.where(forward.acts, edited, hidden)
        return edited.reshape(y.shape)


def _addition(rows: _Rows, functions: dict[float, Delta], x: Tensor, hidden: Tensor) -> Tensor:
    """What is added to `hidden`, each row by its own coefficient; broadcasts to `[batch, position, d_out]`."""
    nothing = hidden.new_zeros(hidden.shape[-1])
    if len(rows.levels) == 1:
        return functions[rows.levels[0]](x) if rows.levels[0] != 0 else nothing
    parts = [
        functions[level](x.index_select(0, own)) if level != 0 else nothing
        for level, own in zip(rows.levels, rows.members, strict=True)
    ]
    if all(part.dim() == 1 for part in parts):
        return torch.stack(parts).index_select(0, rows.level_of).unsqueeze(1)
    # Concatenated and put back in order, not written in place, so that gradients reach every part.
    whole = [part.expand(len(own), *hidden.shape[1:]) for part, own in zip(parts, rows.members, strict=True)]
    return torch.cat(whole).index_select(0, rows.inverse)
