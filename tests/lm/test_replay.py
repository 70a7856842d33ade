"""Replaying blocks: states and gradients equal those of plain whole forwards on every family, however rows are shared."""

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast

from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.lm.batches import pad
from gnomon.lm.head import Head, hidden_of
from gnomon.lm.layout import Layout, lay_out
from gnomon.lm.replay import Replay, frozen, read_states

GROUPS = {
    "whole": None,  # too expensive to share anything
    "one group": [[0, 1, 2, 3, 4, 5, 6]],
    # Beginnings of several lengths, longer than the sliding windows; the second group shares nothing.
    "groups": [[0, 4, 1, 6], [2, 3], [5]],
}
ALPHAS = torch.tensor([1.0, -1.0])


def batch(lm: LM, helpers: Any, monkeypatch: pytest.MonkeyPatch, grouping: str, copies: int = 2) -> Layout:
    monkeypatch.setattr(lm, "tokens_per_batch", 10**6 if grouping == "whole" else 32)
    rows = lm.encode(helpers.prompts)
    if grouping == "groups":
        rows[2] = rows[2][1:]  # without BOS: nothing in common with its group
    layout = lay_out(lm, rows, groups=GROUPS[grouping], copies=copies)
    assert len(layout.parts) == (1 if grouping == "whole" or not lm.caches_expand else 2)
    if grouping == "groups" and lm.caches_expand:
        assert layout.shared == (9, 0, 15)
    return layout


class Trained:
    """Low-rank changes with trainable cores on Linears of the model, as a trainer hooks them."""

    def __init__(self, lm: LM, paths: Sequence[str], rank: int = 2) -> None:
        generator = torch.Generator().manual_seed(5)
        self.lm = lm
        self.coefficient: Callable[[], torch.Tensor] | None = None
        self.cores: dict[str, torch.Tensor] = {}
        self.bases = {}
        for path in paths:
            weight = lm.linears()[path].weight
            d_in, d_out = (
                weight.shape if type(lm.linears()[path]).__name__ == "Conv1D" else weight.shape[::-1]
            )
            u = torch.linalg.qr(torch.randn(d_out, rank, generator=generator)).Q
            v = torch.linalg.qr(torch.randn(d_in, rank, generator=generator)).Q
            self.bases[path] = (u, v)
            self.cores[path] = (0.5 * torch.randn(rank, rank, generator=generator)).requires_grad_()

    def hook(self, path: str) -> Any:
        u, v = self.bases[path]

        def add(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
            assert self.coefficient is not None
            coefficient = self.coefficient()
            if output.dim() == 2:  # behind a router, rows and positions are one dimension
                coefficient = coefficient.flatten(0, 1)
            return output + ((args[0] @ v) @ self.cores[path].T) @ u.T * coefficient

        return add

    @contextmanager
    def attached(self, coefficient: Callable[[], torch.Tensor]) -> Iterator[None]:
        self.coefficient = coefficient
        handles = [self.lm.linears()[path].register_forward_hook(self.hook(path)) for path in self.cores]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def replaying(self, replay: Replay, *, first_token: bool = False) -> Iterator[None]:
        own = {part: part.coefficients(ALPHAS, first_token=first_token) for part in replay.layout.parts}

        def coefficient() -> torch.Tensor:
            assert replay.running is not None
            return own[replay.running]

        with self.attached(coefficient):
            yield


def everywhere(lm: LM) -> Trained:
    """On all Linears but those that pick experts."""
    return Trained(lm, [path for path in lm.linears() if "gate" not in path])


def plain_forward(
    lm: LM, rows: Sequence[list[int]], edits: Trained, first_token: bool
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """States of all blocks and logits, `[copy * row, position, ...]`: one padded forward of the whole model."""
    tokens = pad([*rows, *rows], lm.device, side="right")
    acts = tokens.attention_mask.bool() & (first_token | (tokens.position_ids > 0))
    coefficient = (ALPHAS.repeat_interleave(len(rows))[:, None] * acts)[..., None]
    states: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda module, args, output: states.append(hidden_of(output)))
        for block in lm.blocks
    ]
    try:
        with edits.attached(lambda: coefficient):
            logits = lm.model(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                position_ids=tokens.position_ids,
                use_cache=False,
            ).logits
    finally:
        for handle in handles:
            handle.remove()
    return states, logits


@pytest.mark.parametrize(("grouping", "start"), [("whole", 0), ("one group", 1), ("groups", 0)])
def test_without_edits_a_run_is_the_model(
    family: LM, helpers, monkeypatch, grouping: str, start: int
) -> None:
    layout = batch(family, helpers, monkeypatch, grouping)
    reads = {block: layout.since(0) for block in range(start, 2)}
    replay = Replay.record(family, layout, start=start, reads=reads)
    head = Head.find(family)
    with torch.no_grad():
        states = replay.run(reads)
        logits = head.logits(head.norm(states[1]))
    for row, ids in enumerate(layout.rows):
        expected_logits, expected = helpers.reference(family, ids)
        for block in reads:
            helpers.assert_close(replay.reference[block][row, : len(ids)], expected[block])
            for copy in range(2):
                helpers.assert_close(states[block][copy, row, : len(ids)], expected[block])
        helpers.assert_close(logits[1, row, : len(ids)], expected_logits)


@pytest.mark.parametrize("grouping", GROUPS)
def test_states_that_are_only_read_are_the_models(family: LM, helpers, monkeypatch, grouping: str) -> None:
    layout = batch(family, helpers, monkeypatch, grouping)
    states = read_states(family, layout, {0: layout.last(2), 1: layout.since(1)})
    assert not any(module._forward_hooks for module in family.model.modules())
    for row, ids in enumerate(layout.rows):
        _, expected = helpers.reference(family, ids)
        tail = min(2, len(ids))
        for copy in range(2):
            helpers.assert_close(states[0][copy, row, 2 - tail :], expected[0][len(ids) - tail :])
            helpers.assert_close(states[1][copy, row, : len(ids) - 1], expected[1][1:])
    assert not states[1].requires_grad


def test_reading_stops_at_the_last_block_that_is_read(lm: LM, helpers, monkeypatch) -> None:
    layout = batch(lm, helpers, monkeypatch, "whole", copies=1)
    ran: list[Any] = []
    for module in (lm.blocks[1], lm.model.lm_head):
        module.register_forward_pre_hook(lambda module, args: ran.append(module))
    read_states(lm, layout, {0: layout.last(1)})
    assert ran == []


def test_states_are_read_without_edits_and_at_blocks_that_are_there(lm: LM, helpers, monkeypatch) -> None:
    layout = batch(lm, helpers, monkeypatch, "whole")
    with lm.edited([helpers.add_vector(lm)], 1.0), pytest.raises(UsageError, match="without edits"):
        read_states(lm, layout, {0: layout.last(1)})
    for block in (-1, 2):
        with pytest.raises(UsageError, match="blocks to read must be from"):
            read_states(lm, layout, {block: layout.last(1)})
    with pytest.raises(UsageError, match="blocks to read must be from"):
        read_states(lm, layout, {})


@pytest.mark.parametrize("grouping", GROUPS)
def test_states_and_gradients_equal_a_plain_forwards(family: LM, helpers, monkeypatch, grouping: str) -> None:
    layout = batch(family, helpers, monkeypatch, grouping)
    edits, head = everywhere(family), Head.find(family)
    reads = {0: layout.last(3), 1: layout.since(0)}
    replay = Replay.record(family, layout, start=0, reads=reads)
    generator = torch.Generator().manual_seed(6)
    rows, longest = len(layout.rows), max(map(len, layout.rows))
    weights = torch.randn(2, rows, longest, 32, generator=generator)
    logit_weights = torch.randn(2, rows, family.vocabulary, generator=generator)
    with frozen(family):
        states, logits = plain_forward(family, layout.rows, edits, first_token=False)
        loss = torch.zeros(())
        for copy in range(2):
            for row, ids in enumerate(layout.rows):
                n, at = len(ids), copy * rows + row
                tail = min(3, n)
                loss = loss + (states[0][at, n - tail : n] * weights[copy, row, -tail:]).sum()
                loss = loss + (states[1][at, :n] * weights[copy, row, :n]).sum()
                loss = loss + (logits[at, n - 1] * logit_weights[copy, row]).sum()
        expected = torch.autograd.grad(loss, list(edits.cores.values()))
        with edits.replaying(replay):
            found = replay.run(reads | {1: layout.since(0)})
            last = replay.run({1: layout.last(1)})[1][:, :, 0]
    replayed = (found[0] * weights[..., -3:, :] * layout.last(3).mask[..., None]).sum()
    replayed = replayed + (found[1] * weights * layout.since(0).mask[..., None]).sum()
    replayed = replayed + (head.logits(head.norm(last)) * logit_weights).sum()
    actual = torch.autograd.grad(replayed, list(edits.cores.values()))
    for copy in range(2):
        for row, ids in enumerate(layout.rows):
            helpers.assert_close(
                found[1][copy, row, : len(ids)], states[1][copy * rows + row, : len(ids)].detach()
            )
    for one, other in zip(actual, expected, strict=True):
        helpers.assert_close(one, other)
        assert other.abs().max() > 1e-3


@pytest.mark.parametrize("grouping", ["whole", "groups"])
def test_a_trained_edit_is_the_edit_that_is_used(family: LM, helpers, monkeypatch, grouping: str) -> None:
    layout = batch(family, helpers, monkeypatch, grouping)
    places = layout.since(0)
    replay = Replay.record(family, layout, start=0, reads={1: places})
    used = [helpers.low_rank(family, block=0), helpers.low_rank(family, block=1)]
    trained = Trained(family, [edit.path for edit in used])
    trained.bases = {edit.path: (edit.u, edit.v) for edit in used}
    trained.cores = {edit.path: edit.core for edit in used}
    tokens = pad([*layout.rows, *layout.rows], family.device, side="left")
    outputs: list[torch.Tensor] = []
    for first_token in (False, True):
        with torch.no_grad(), trained.replaying(replay, first_token=first_token):
            states = replay.run({1: places})[1]
        with torch.no_grad(), family.edited(used, ALPHAS.tolist(), first_token=first_token):
            handle = family.blocks[1].register_forward_hook(
                lambda module, args, output: outputs.append(hidden_of(output))
            )
            family.model(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                position_ids=tokens.position_ids,
            )
            handle.remove()
        for copy in range(2):
            for row, ids in enumerate(layout.rows):
                expected = outputs[-1][copy * len(layout.rows) + row, -len(ids) :]
                helpers.assert_close(states[copy, row, : len(ids)], expected)
        assert not torch.allclose(states[0, 0], states[1, 0], atol=1e-2)
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-2)


def test_only_what_is_needed_runs_and_it_runs_again(lm: LM, helpers, monkeypatch) -> None:
    layout = batch(lm, helpers, monkeypatch, "groups")
    replay = Replay.record(lm, layout, start=1, reads={1: layout.last(2)})
    edits = everywhere(lm)
    edits.cores = {path: core for path, core in edits.cores.items() if ".layers.1." in path}
    ran: list[Any] = []
    for module in (lm.model.get_input_embeddings(), lm.blocks[0], lm.blocks[1], lm.model.lm_head):
        module.register_forward_pre_hook(lambda module, args: ran.append((module, args[0].shape[:2])))

    def step() -> list[torch.Tensor]:
        with frozen(lm), edits.replaying(replay):
            states = replay.run({1: layout.last(2)})[1]
        return list(torch.autograd.grad(states.square().sum(), list(edits.cores.values())))

    first = step()
    assert ran == [(lm.blocks[1], part.real.shape) for part in layout.parts]
    assert all(torch.equal(a, b) for a, b in zip(first, step(), strict=True))


def test_what_is_kept_takes_gradients_later_and_a_run_leaves_nothing_behind(
    lm: LM, helpers, monkeypatch
) -> None:
    layout = batch(lm, helpers, monkeypatch, "groups")
    replay = Replay.record(lm, layout, start=0, reads={0: layout.last(3), 1: layout.rests()})
    for states in replay.reference.values():
        assert not states.requires_grad
        assert not states.is_inference()
        assert states.untyped_storage().nbytes() == states.nbytes  # of one copy, and no view of more
    read: list[weakref.ref[torch.Tensor]] = []
    lm.blocks[0].self_attn.v_proj.register_forward_hook(
        lambda module, args, output: read.append(weakref.ref(args[0]))
    )
    states = replay.run({1: layout.rests()})[1]
    assert replay.running is None
    assert len(read) == 2
    assert all(x() is not None for x in read)  # for the gradient of the values, which are in the cache
    del states
    gc.collect()
    assert all(x() is None for x in read)


def test_after_an_error_the_next_run_is_as_ever(lm: LM, helpers, monkeypatch) -> None:
    layout = batch(lm, helpers, monkeypatch, "groups")
    reads = {1: layout.since(0)}
    replay = Replay.record(lm, layout, start=0, reads=reads)

    def broken(module: Any, args: Any, output: Any) -> None:
        if replay.running is layout.parts[1]:
            raise ZeroDivisionError

    handle = lm.blocks[1].register_forward_hook(broken)
    with pytest.raises(ZeroDivisionError):
        replay.run(reads)
    assert replay.running is None
    handle.remove()
    mask = reads[1].mask
    assert torch.allclose(replay.run(reads)[1][0][mask], replay.reference[1][mask], atol=1e-5)


def test_the_model_is_unchanged_by_recording_and_freezing(lm: LM, helpers, monkeypatch) -> None:
    lm.model.lm_head.weight.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in lm.model.parameters()]
    layout = batch(lm, helpers, monkeypatch, "groups")
    Replay.record(lm, layout, start=0, reads={1: layout.last(1)})
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    with frozen(lm):
        assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert [parameter.requires_grad for parameter in lm.model.parameters()] == wanted


def test_what_cannot_be_recorded_or_run_is_refused(lm: LM, helpers, monkeypatch) -> None:
    layout = batch(lm, helpers, monkeypatch, "groups")
    places = layout.last(1)
    for start, reads in [(1, {0: places}), (0, {2: places}), (-1, {0: places}), (0, {})]:
        with pytest.raises(UsageError, match="blocks to read"):
            Replay.record(lm, layout, start=start, reads=reads)
    with lm.edited([helpers.add_vector(lm)], 1.0), pytest.raises(UsageError, match="without edits"):
        Replay.record(lm, layout, start=0, reads={0: places})
    replay = Replay.record(lm, layout, start=0, reads={0: places})
    with pytest.raises(UsageError, match="0 to 0 were recorded"):
        replay.run({1: places})


@pytest.mark.parametrize("leak", ["between the blocks", "into the rotary embeddings", None])
def test_blocks_that_cannot_be_run_by_themselves_are_refused(
    lm: LM, helpers, monkeypatch, leak: str | None
) -> None:
    decoder = lm.model.model

    def forward(
        input_ids: Any, attention_mask: Any, position_ids: Any, past_key_values: Any, **others: Any
    ) -> Any:
        hidden = decoder.embed_tokens(input_ids)
        cos, sin = decoder.rotary_emb(hidden, position_ids)
        mask = create_causal_mask(lm.model.config, hidden, attention_mask, past_key_values, position_ids)
        for block in decoder.layers:
            # The first changes the states on their way, the second an argument that a recording takes for constant.
            if leak == "between the blocks":
                hidden = hidden + 0.1 * hidden.roll(1, dims=-1)
            turned = cos * (1 + hidden[..., :1].tanh()) if leak == "into the rotary embeddings" else cos
            hidden = block(
                hidden,
                attention_mask=mask,
                position_embeddings=(turned, sin),
                past_key_values=past_key_values,
            )
        return BaseModelOutputWithPast(
            last_hidden_state=decoder.norm(hidden), past_key_values=past_key_values
        )

    monkeypatch.setattr(decoder, "forward", forward)
    for grouping in ("whole", "groups"):
        layout = batch(lm, helpers, monkeypatch, grouping)
        reads = {1: layout.last(3)}
        if leak is None:
            Replay.record(lm, layout, start=0, reads=reads)
        else:
            with pytest.raises(UsageError, match="run by themselves"):
                Replay.record(lm, layout, start=0, reads=reads)
