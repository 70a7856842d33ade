"""Trained cores: the matrices are those of the dials' cores, every parameter learns, one solve for all modules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.training.cores import Cores, FreeCores, RotationCores, ScalingCores

FEW = settings(max_examples=15, deadline=None, derandomize=True)
KINDS = ("free", "scaling", "rotation")


def cores(kind: str, modules: int = 3, rank: int = 4, seed: int = 0) -> Cores:
    draw = torch.Generator().manual_seed(seed)
    S = torch.rand(modules, rank, generator=draw) + 0.5
    dS = torch.randn(modules, rank, generator=draw)
    if kind == "scaling":
        return ScalingCores(dS)
    if kind == "rotation":
        return RotationCores(S, torch.randn(modules, rank * (rank - 1) // 2, generator=draw), dS)
    found = FreeCores(modules, rank)
    with torch.no_grad():
        found.K.copy_(torch.randn(modules, rank, rank, generator=draw))
    return found


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(
    modules=st.integers(1, 4),
    rank=st.integers(1, 6),
    alphas=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_matrices_are_those_of_the_cores_that_a_dial_gets(kind, modules, rank, alphas, seed) -> None:
    trained = cores(kind, modules, rank, seed)
    matrices = trained.matrices(torch.tensor(alphas))
    assert matrices.shape == (len(alphas), modules, rank, rank)
    for copy, alpha in enumerate(alphas):
        for module in range(modules):
            torch.testing.assert_close(
                matrices[copy, module].detach(), trained.core(module).matrix(alpha), atol=2e-5, rtol=1e-4
            )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_added_at_zero(kind) -> None:
    assert float(cores(kind).matrices(torch.zeros(1)).detach().abs().max()) < 1e-6


def test_an_untrained_free_core_does_nothing_at_any_strength() -> None:
    assert not FreeCores(2, 3).matrices(torch.tensor([1.0, -7.0])).any()


def test_scaling_is_rotation_that_does_not_rotate() -> None:
    dS = torch.tensor([[0.3, -0.2], [1.0, 0.5]])
    still = RotationCores(torch.tensor([[2.0, 1.0], [3.0, 0.1]]), torch.zeros(2, 1), dS)
    alphas = torch.tensor([1.0, -0.5])
    torch.testing.assert_close(still.matrices(alphas), ScalingCores(dS).matrices(alphas))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_number_of_every_parameter(kind) -> None:
    trained = cores(kind)
    weights = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    (trained.matrices(torch.tensor([1.0, -1.0])) * weights).sum().backward()
    for parameter in trained.parameters.values():
        assert parameter.is_leaf
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert bool((parameter.grad != 0).all())


def test_gradients_of_a_rotation_are_its_slopes() -> None:
    trained = cores("rotation", modules=2, rank=3)
    weights = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(2))
    alphas = torch.tensor([1.0, -1.0])

    def value() -> torch.Tensor:
        return (trained.matrices(alphas) * weights).double().sum()

    value().backward()
    draw = torch.Generator().manual_seed(3)
    for parameter in trained.parameters.values():
        step = 1e-2 * torch.nn.functional.normalize(torch.randn(parameter.shape, generator=draw), dim=-1)
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                parameter += sign * step
                ends.append(float(value()))
                parameter -= sign * step
        slope = float((parameter.grad * step).sum())
        assert (ends[0] - ends[1]) / 2 == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_all_modules_and_both_signs_are_one_solve(monkeypatch) -> None:
    solved: list[torch.Size] = []
    solve = torch.linalg.solve
    monkeypatch.setattr(torch.linalg, "solve", lambda a, b: solved.append(a.shape) or solve(a, b))
    cores("rotation", modules=5, rank=3).matrices(torch.tensor([1.0, -1.0]))
    assert [tuple(shape) for shape in solved] == [(2, 5, 3, 3)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_core_stays_as_it_was_when_training_goes_on(kind) -> None:
    trained = cores(kind)
    core = trained.core(1)
    before = core.matrix(1.0)
    with torch.no_grad():
        for parameter in trained.parameters.values():
            parameter += 1.0
    assert torch.equal(core.matrix(1.0), before)
    assert not torch.allclose(trained.core(1).matrix(1.0), before)
