"""Running the same batch again and again through the blocks, with gradients, from the first edited block on.

Whatever does not depend on the edits is recorded once, in the model's own forward: the residual stream that enters the
first edited block, and everything else that a block is called with (masks, rotary embeddings, positions), whatever its
family makes of it. A run then calls the block modules themselves, with the hooks that are on their Linears. Knows
nothing of what the hooks add or what a loss reads.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.errors import UsageError
from gnomon.lm.head import close, hidden_of
from gnomon.lm.layout import Layout, Part, Places

if TYPE_CHECKING:
    from gnomon.lm.model import LM

Reads = Mapping[int, Places]
"""Block -> the tokens at which its output is read."""


@dataclass(frozen=True)
class _Recorded:
    """One part's way into the first edited block, and what each block from there on is called with beside it."""

    entering: Float[Tensor, "row position d_model"]  # of one copy: all copies are equal there
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]


class Replay:
    """A batch that can be run again from block `start` on.

    Attributes:
        layout: The batch.
        start: The first block that runs; edits below it are not seen.
        last: The last block that can be read.
        reference: What was recorded to be read, without edits: block -> `[row, position, d_model]`.
        running: The part that is in the blocks now, for the hooks on their Linears; None between runs. A hook's
            input has the part's rows and positions, in two dimensions or (behind a router) in one.
    """

    def __init__(self, lm: LM, layout: Layout, start: int, last: int) -> None:
        self.layout = layout
        self.start = start
        self.last = last
        self.reference: dict[int, Float[Tensor, "row position d_model"]] = {}
        self.running: Part | None = None
        self._lm = lm
        self._recorded: list[_Recorded] = []
        # Recorded calls hold this very object, and every run gives it new layers.
        self._cache = lm.new_cache() if len(layout.parts) > 1 else None
        self._empty = [] if self._cache is None else list(self._cache.layers)

    @classmethod
    @torch.no_grad()
    def record(cls, lm: LM, layout: Layout, *, start: int, reads: Reads) -> Replay:
        """Run the batch through the model without edits, and keep what later runs need.

        Args:
            lm: The model, without active edits or other hooks that change its states.
            layout: The batch, from `lay_out`.
            start: The first block whose modules may be edited.
            reads: Where reference states are kept; runs may read other places, but no later block.

        Raises:
            UsageError: Edits are active, a block is out of range, or the model's blocks cannot be run by themselves.
        """
        _check(lm, start, reads)
        replay = cls(lm, layout, start, max(reads))
        with replay._recording():
            states = replay._through_the_model(reads)
        replay.reference = {block: of_copies[0].clone() for block, of_copies in states.items()}
        # Compared under a push, because what is recorded must not depend on what the edits will change.
        with _pushed(lm.blocks[start]):
            expected = replay._through_the_model(reads)
            actual = replay.run(reads)
        if not all(close(actual[block], expected[block]) for block in reads):
            raise UsageError(
                f"The blocks of {lm.name} give other states when they are run by themselves than inside the model, so no "
                "dial can be trained on it."
            )
        return replay

    def run(self, reads: Reads) -> dict[int, Float[Tensor, "copy row position d_model"]]:
        """The blocks' outputs at these places, with whatever hooks are on the modules now; gradients flow.

        The model's own parameters get gradients too, unless the model is `frozen`.

        Raises:
            UsageError: A block is not between `start` and the last one recorded.
        """
        last = max(reads)
        if not self.start <= min(reads) <= last <= self.last:
            raise UsageError(
                f"Blocks {self.start} to {self.last} were recorded, and not all of {sorted(reads)}."
            )
        states: dict[int, list[Tensor]] = {block: [] for block in reads}
        with self._fresh_cache():
            for part, recorded in zip(self.layout.parts, self._recorded, strict=True):
                self._enter(part)
                hidden = recorded.entering.repeat(self.layout.copies, 1, 1)
                for block, (args, kwargs) in zip(range(self.start, last + 1), recorded.calls, strict=False):
                    hidden = hidden_of(self._lm.blocks[block](hidden, *args, **kwargs))
                    if block in states:
                        states[block].append(hidden)
        return {block: places.read(states[block], self.layout.copies) for block, places in reads.items()}

    def _through_the_model(self, reads: Reads) -> dict[int, Tensor]:
        """What `run` returns, from whole forwards of the model."""
        states: dict[int, list[Tensor]] = {block: [] for block in reads}

        def keep(block: int) -> Any:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                states[block].append(hidden_of(output))
                if block == self.last:
                    raise _Through

            return hook

        handles = [self._lm.blocks[block].register_forward_hook(keep(block)) for block in reads]
        try:
            with self._fresh_cache():
                for part in self.layout.parts:
                    self._enter(part)
                    with suppress(_Through):
                        self._lm.forward(part.tokens, (), cache=self._cache, keep=0)
        finally:
            for handle in handles:
                handle.remove()
        return {block: places.read(states[block], self.layout.copies) for block, places in reads.items()}

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Within the block, forwards of the model leave behind what their blocks are called with."""

        def keep(block: int) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                others = dict(kwargs)
                hidden = args[0] if args else others.pop("hidden_states")
                if block == self.start:
                    # All copies are equal here, so one is kept.
                    entering = hidden.unflatten(0, (self.layout.copies, -1))[0].clone()
                    self._recorded.append(_Recorded(entering, []))
                self._recorded[-1].calls.append((args[1:], others))

            return hook

        handles = [
            self._lm.blocks[block].register_forward_pre_hook(keep(block), with_kwargs=True)
            for block in range(self.start, self.last + 1)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _fresh_cache(self) -> Iterator[None]:
        """Within the block, the cache starts empty; afterwards it holds on to nothing of the pass."""
        try:
            if self._cache is not None:
                self._cache.layers = [copy.copy(layer) for layer in self._empty]
            yield
        finally:
            self.running = None
            if self._cache is not None:
                self._cache.layers = []

    def _enter(self, part: Part) -> None:
        """Make a part the running one; the rests find their group's keys and values in the cache."""
        self.running = part
        if self._cache is not None and part is self.layout.parts[1]:
            self._cache.reorder_cache(self.layout.beginning_of)


@torch.no_grad()
def read_states(
    lm: LM, layout: Layout, reads: Reads
) -> dict[int, Float[Tensor, "copy row position d_model"]]:
    """The blocks' outputs of a batch at these places, from one forward of the model that ends at the last of them.

    Raises:
        UsageError: Edits are active, or there is no such block.
    """
    _check(lm, max(0, min(reads, default=0)), reads)
    return Replay(lm, layout, min(reads), max(reads))._through_the_model(reads)


def _check(lm: LM, start: int, reads: Reads) -> None:
    if lm.active:
        raise UsageError("A batch is read without edits: leave the `with lm.edited(...)` block first.")
    if not reads or not all(0 <= start <= block < lm.n_blocks for block in reads):
        raise UsageError(
            f"The blocks to read must be from {start}, the first one edited, to {lm.n_blocks - 1}, not {sorted(reads)}."
        )


@contextmanager
def frozen(lm: LM) -> Iterator[None]:
    """Within the block, the model's own parameters take no gradients, so a run keeps only what the edits need."""
    trainable = [parameter for parameter in lm.model.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


class _Through(Exception):
    """Raised by the hook on the last block that is read."""


@contextmanager
def _pushed(block: nn.Module) -> Iterator[None]:
    """Within the block, a block's output is turned in another direction by as much as it is long."""

    def push(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        pushed = hidden + hidden.roll(1, dims=-1)
        return pushed if isinstance(output, Tensor) else (pushed, *output[1:])

    handle = block.register_forward_hook(push)
    try:
        yield
    finally:
        handle.remove()
