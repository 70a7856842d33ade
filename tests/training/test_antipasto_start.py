"""How AntiPaSTO begins: which token is read, which singular directions are turned, and the subspace of the loss."""

import pytest
import torch
from torch import Tensor

from gnomon.errors import UsageError
from gnomon.lm import LM, Head
from gnomon.training.antipasto_start import (
    SUBSPACES,
    Stream,
    columns,
    first_cores,
    loss_subspace,
    published_rows,
    turned_bases,
)
from gnomon.training.pair_rows import PairRows
from gnomon.training.svd import adapter_dimensions, dense_weight


@pytest.fixture(scope="module")
def stream(tiny_lm: LM, pair_rows: PairRows) -> Stream:
    return Stream.read(tiny_lm, pair_rows.toward, pair_rows.away)


@torch.no_grad()
def alone(lm: LM, ids: list[int]) -> Tensor:
    """What enters each block and leaves the last, at the last token of one row by itself."""
    seen: list[Tensor] = []
    handles = [lm.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0][0, -1]))]
    handles += [
        block.register_forward_hook(lambda module, args, output: seen.append(hidden(output)[0, -1]))
        for block in lm.blocks
    ]
    lm.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.stack(seen)


def hidden(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


# -- the stream --------------------------------------------------------------------------------------------------------


def test_the_stream_is_that_of_each_rows_own_last_token(trained_family: LM, pair_rows: PairRows) -> None:
    lm = trained_family
    found = Stream.read(lm, pair_rows.toward, pair_rows.away)
    assert found.toward.shape == (14, lm.n_blocks + 1, lm.d_model)
    for side, rows in ((found.toward, pair_rows.toward), (found.away, pair_rows.away)):
        for state, ids in zip(side, rows, strict=True):
            torch.testing.assert_close(state, alone(lm, ids), rtol=1e-4, atol=1e-5)
    assert torch.equal(found.both, torch.cat([found.toward, found.away]))
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in lm.blocks)


def test_however_rows_are_batched(tiny_lm: LM, pair_rows: PairRows, stream: Stream, monkeypatch) -> None:
    monkeypatch.setattr(tiny_lm, "tokens_per_batch", 20)
    few = Stream.read(tiny_lm, pair_rows.toward, pair_rows.away)
    torch.testing.assert_close(few.both, stream.both, rtol=1e-4, atol=1e-5)


def test_the_published_token_is_that_of_the_padded_batch(pair_rows: PairRows) -> None:
    """Its index is the number of real tokens, counted from the left of a batch that is padded on the left."""
    rows = [row for pair in zip(pair_rows.toward, pair_rows.away, strict=True) for row in pair]
    for per_batch in (1, 2, 6, 28):
        found = published_rows(rows, per_batch)
        for first in range(0, len(rows), per_batch):
            batch = rows[first : first + per_batch]
            longest = max(map(len, batch))
            for row, cut in zip(batch, found[first : first + per_batch], strict=True):
                padded = [None] * (longest - len(row)) + row
                read = padded[: len(row)]
                assert cut == ([token for token in read if token is not None] or row[:1])
    assert published_rows(rows, 1) == rows


def test_a_row_less_than_half_as_long_as_the_longest_is_read_in_its_padding() -> None:
    assert published_rows([[1, 2, 3, 4, 5, 6], [1, 2, 3], [1, 2], [1, 2, 3, 4, 5]], 4) == [
        [1, 2, 3, 4, 5, 6],
        [1],
        [1],
        [1, 2, 3, 4],
    ]


# -- the edits ---------------------------------------------------------------------------------------------------------


def test_the_turned_directions_are_singular_ones_of_the_writers(
    trained_family: LM, pair_rows: PairRows
) -> None:
    lm = trained_family
    found = turned_bases(lm, Stream.read(lm, pair_rows.toward, pair_rows.away), 0, 1, 5)
    linears = lm.linears()
    assert len(found) >= 2
    for base in found:
        weight = dense_weight(linears[base.module]).detach()
        assert base.U.shape == (lm.d_model, 5)
        torch.testing.assert_close(base.U.mT @ base.U, torch.eye(5), rtol=0, atol=1e-5)
        torch.testing.assert_close(base.V.mT @ base.V, torch.eye(5), rtol=0, atol=1e-5)
        torch.testing.assert_close(weight @ base.V, base.U * base.S, rtol=1e-4, atol=1e-5)


def test_they_are_chosen_by_the_stream_that_enters_the_block(tiny_lm: LM, stream: Stream) -> None:
    """Against a full decomposition, and the stream there; a stream that points one way changes the choice to it."""
    linears = tiny_lm.linears()
    for base in turned_bases(tiny_lm, stream, 1, 2, 6):
        block = int(base.module.split(".")[2])
        left, values, _ = torch.linalg.svd(linears[base.module].weight.detach().double(), full_matrices=False)
        left, values = left.float(), values.float()
        chosen = adapter_dimensions(values, stream.toward[:, block] @ left, stream.away[:, block] @ left, 6)
        torch.testing.assert_close(base.S, values[chosen], rtol=1e-4, atol=1e-5)
        cosines = (base.U * left[:, chosen]).sum(0).abs()
        torch.testing.assert_close(cosines, torch.ones(6), rtol=1e-3, atol=1e-3)


def test_a_rank_that_no_writer_has_is_lowered_for_all(tiny_lm: LM, stream: Stream) -> None:
    assert {len(base.S) for base in turned_bases(tiny_lm, stream, 0, 1, 1000)} == {32}


def test_the_first_rotations_are_small_not_zero_and_the_seeds(tiny_lm: LM, stream: Stream) -> None:
    bases = turned_bases(tiny_lm, stream, 0, 3, 24)
    cores = first_cores(bases, 0, tiny_lm.device)
    again, other = (first_cores(bases, seed, tiny_lm.device) for seed in (0, 1))
    modules = len(bases)
    assert cores.free.shape == (modules, 24 * 23 // 2)
    assert cores.dS.shape == (modules, 24)
    for name, parameter in cores.parameters.items():
        assert parameter.requires_grad
        assert parameter.is_leaf
        assert torch.equal(parameter, again.parameters[name])
        assert not torch.equal(parameter, other.parameters[name])
    # X - X^T of entries of width 0.003.
    assert float(cores.free.detach().std()) == pytest.approx(0.003 * 2**0.5, rel=0.1)
    assert abs(float(cores.free.detach().mean())) < 3e-4
    assert float(cores.dS.detach().mean()) == pytest.approx(4e-4, rel=0.2)
    assert float(cores.dS.detach().std()) == pytest.approx(4e-4, rel=0.2)
    assert torch.equal(cores.S, torch.stack([base.S for base in bases]))


# -- the subspace of the loss ------------------------------------------------------------------------------------------


def test_columns_are_256_or_two_fifths_of_a_narrow_stream() -> None:
    assert [columns(width) for width in (1, 2, 5, 32, 96, 639, 640, 4096)] == [1, 1, 2, 12, 38, 255, 256, 256]


@pytest.mark.parametrize("kind", SUBSPACES)
def test_the_subspace_is_orthonormal_and_of_the_rank(tiny_lm: LM, stream: Stream, kind: str) -> None:
    head = Head.find(tiny_lm)
    for rank in (1, 4):
        found = loss_subspace(tiny_lm, head, stream, kind=kind, block=2, rank=rank, centred=False)
        assert 1 <= found.rank <= rank
        identity = torch.eye(found.rank)
        torch.testing.assert_close(found.basis.mT @ found.basis, identity, rtol=0, atol=1e-5)


def test_the_two_kinds_are_not_one(tiny_lm: LM, stream: Stream) -> None:
    head = Head.find(tiny_lm)
    one, other = (
        loss_subspace(tiny_lm, head, stream, kind=kind, block=2, rank=2, centred=False) for kind in SUBSPACES
    )
    assert one.basis.shape != other.basis.shape or not torch.allclose(
        one.basis @ one.basis.mT, other.basis @ other.basis.mT, atol=1e-2
    )


def planted(stream: Stream, direction: Tensor, noise: float) -> Stream:
    """The same stream, in which all pairs differ along one direction at the loss block, and a little otherwise."""
    generator = torch.Generator().manual_seed(0)
    away = stream.away.clone()
    away[:, 3] = stream.toward[:, 3] - direction
    away[:, 3] += noise * torch.randn(away[:, 3].shape, generator=generator)
    return Stream(stream.toward, away)


@pytest.mark.parametrize("kind", SUBSPACES)
def test_what_all_pairs_share_is_in_the_subspace_unless_it_is_centred_away(
    tiny_lm: LM, stream: Stream, kind: str
) -> None:
    head = Head.find(tiny_lm)
    direction = torch.nn.functional.normalize(
        loss_subspace(tiny_lm, head, stream, kind=kind, block=2, rank=1, centred=False).basis[:, 0], dim=0
    )

    def share(centred: bool) -> float:
        found = loss_subspace(
            tiny_lm, head, planted(stream, direction, 0.02), kind=kind, block=2, rank=1, centred=centred
        )
        return float((found.basis[:, 0] @ direction).abs())

    kept, lost = share(False), share(True)
    assert kept > 0.8
    assert lost < 0.5


def test_embeddings_of_another_width_are_refused(tiny_lm: LM, wider_tiny_lm: LM, stream: Stream) -> None:
    with pytest.raises(
        UsageError, match=r"output embeddings of tiny-0 are not as wide as its residual stream"
    ):
        loss_subspace(
            tiny_lm, Head.find(wider_tiny_lm), stream, kind=SUBSPACES[0], block=2, rank=1, centred=False
        )
