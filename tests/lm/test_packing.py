"""Packed batches: hand-made lines, and the states and gradients of whole rows on every family, or no packing at all."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.lm.layout import Layout, lay_out
from gnomon.lm.packing import Packed, pack
from gnomon.lm.replay import Replay, frozen, read_states

ROWS = [[1, 5, 6, 7], [1, 5, 6, 8, 9], [1, 4, 3], [1, 4, 2, 2]]
GROUPS = [[0, 1], [2, 3]]
CPU = torch.device("cpu")


def test_two_groups_by_hand() -> None:
    layout = Packed(ROWS, GROUPS, 2, [3, 2], CPU, torch.float32)
    (part,) = layout.parts
    assert part.tokens.input_ids.tolist() == [[1, 5, 6, 7, 8, 9], [1, 4, 3, 2, 2, 0]] * 2
    assert part.tokens.position_ids.tolist() == [[0, 1, 2, 3, 3, 4], [0, 1, 2, 2, 3, 0]] * 2
    assert part.real.tolist() == [[True] * 6, [True] * 5 + [False]] * 2
    assert part.copy.tolist() == [0, 0, 1, 1]
    assert part.group.tolist() == [0, 1, 0, 1]
    sees = part.tokens.attention_mask[:2, 0] == 0
    assert sees[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],  # 7 goes on from the beginning
        [1, 1, 1, 0, 1, 0],  # 8 too, and does not see 7
        [1, 1, 1, 0, 1, 1],
    ]
    assert sees[1, 5].any()  # padding sees something, or its attention would not be a number
    assert not sees[1, :5, 5].any()  # and is seen by nobody


def test_every_token_is_read_where_it_is() -> None:
    layout = Packed(ROWS, GROUPS, 2, [3, 2], CPU, torch.float32)
    (part,) = layout.parts
    states = torch.stack([part.tokens.input_ids, part.tokens.position_ids], dim=-1).float()
    places = layout.since(0)
    found = places.read([states], 2)
    for copy in range(2):
        for row, ids in enumerate(ROWS):
            own = found[copy, row][places.mask[row]]
            assert own.int().tolist() == [[token, place] for place, token in enumerate(ids)]
    chosen = layout.at(torch.tensor([1, 3, 0]), torch.tensor([4, 0, 3])).read([states], 2)
    assert chosen[0, :, 0].int().tolist() == [[9, 4], [1, 0], [7, 3]]


def rows_of(lm: LM, helpers: Any) -> tuple[list[list[int]], list[list[int]]]:
    rows = sorted(lm.encode(helpers.prompts))
    return rows, [list(range(4)), list(range(4, len(rows)))]


def plain_states(lm: LM, row: list[int]) -> torch.Tensor:
    layout = Layout([row], [[0]], 1, [0], CPU)
    return read_states(lm, layout, {lm.n_blocks - 1: layout.since(0)})[lm.n_blocks - 1][0, 0]


def test_states_are_those_of_whole_rows_whether_it_packs_or_not(family: LM, helpers, monkeypatch) -> None:
    """Families with a window narrower than the rows, and those without plain attention, are not packed."""
    rows, groups = rows_of(family, helpers)
    monkeypatch.setattr("gnomon.lm.packing._work", lambda lm, layout: len(layout.parts[0].tokens.input_ids))
    layout = pack(family, rows, groups=groups)
    states = read_states(family, layout, {family.n_blocks - 1: layout.since(0)})[family.n_blocks - 1]
    for row, ids in enumerate(rows):
        expected = plain_states(family, ids)
        for copy in range(2):
            helpers.assert_close(states[copy, row, : len(ids)], expected)
    windowed = getattr(family.model.config.get_text_config(), "sliding_window", None) == 4
    if family.name in ("llama", "qwen3", "gpt2", "gpt_neox", "olmo2"):
        assert isinstance(layout, Packed)
    if windowed and max(map(len, rows)) > 5:
        assert family.name.startswith(("qwen", "mixtral")) or not isinstance(layout, Packed)


def test_gradients_are_those_of_whole_rows(tiny_lm: LM) -> None:
    lm = tiny_lm
    rows = lm.encode(["you are honest . the sky is blue", "you are honest . hello", "you are cruel . hello"])
    groups = [[0, 1], [2]]
    reads = {}
    found = []
    for layout in (
        Packed(rows, groups, 1, [5, 2], lm.device, lm.dtype),
        Layout(rows, groups, 1, [0, 0], lm.device),
    ):
        reads = {lm.n_blocks - 1: layout.last(1)}
        replay = Replay.record(lm, layout, start=1, reads=reads)
        push = torch.zeros(lm.d_model, requires_grad=True)
        handle = lm.blocks[1].mlp.register_forward_hook(lambda module, args, output, push=push: output + push)
        try:
            with frozen(lm):
                states = replay.run(reads)[lm.n_blocks - 1]
                (states * torch.arange(1, 4).view(1, 3, 1, 1)).sin().sum().backward()
        finally:
            handle.remove()
        found.append((states.detach(), push.grad))
    for packed, whole in zip(*found, strict=True):
        torch.testing.assert_close(packed, whole, atol=1e-5, rtol=1e-4)
    assert float(found[0][1].abs().max()) > 0.1


def test_it_packs_only_what_is_less_work(tiny_lm: LM) -> None:
    long = [1, *range(4, 24)]
    alike = [[*long, token] for token in range(4, 20)]
    apart = [[token] * 20 for token in range(4, 8)]
    assert isinstance(pack(tiny_lm, alike, groups=[range(16)]), Packed)
    assert not isinstance(pack(tiny_lm, apart, groups=[range(4)]), Packed)


def test_an_attention_that_takes_no_mask_is_not_packed(tiny_lm: LM, monkeypatch) -> None:
    monkeypatch.setattr(tiny_lm.model.config, "_attn_implementation", "flash_attention_2")
    rows = [[1, *range(4, 24), token] for token in range(4, 20)]
    assert not isinstance(pack(tiny_lm, rows, groups=[range(16)]), Packed)


def test_a_model_that_looks_across_rests_is_not_packed(tiny_lm: LM) -> None:
    """A block that mixes neighbouring positions, whatever the mask says."""
    rows = [[1, *range(4, 24), token, token] for token in range(4, 20)]
    handle = tiny_lm.blocks[0].mlp.register_forward_hook(
        lambda module, args, output: output + args[0].roll(1, dims=1)
    )
    try:
        layout = pack(tiny_lm, rows, groups=[range(16)])
    finally:
        handle.remove()
    assert not isinstance(layout, Packed)


def test_what_a_layout_cannot_be_is_told(tiny_lm: LM) -> None:
    with pytest.raises(UsageError, match="exactly one group"):
        pack(tiny_lm, [[1, 2]], groups=[[0], [0]])
    assert lay_out(SimpleNamespace(tokens_per_batch=1, caches_expand=False, device=CPU), [[1]]).copies == 2
