"""Vector methods on states whose answer is known, and on a model whose direction was planted."""

import numpy as np
import pytest
import torch

from gnomon.contrast import PairStates, read_pairs
from gnomon.errors import Failure, UsageError
from gnomon.methods import (
    METHODS,
    PCA,
    ActAdd,
    LogisticProbe,
    MeanDifference,
    RandomDirection,
    Trained,
    named,
)
from gnomon.methods.pca import first_component

VECTORS = [MeanDifference(block=1), PCA(block=1), LogisticProbe(block=1), ActAdd(block=1)]


def planted(direction: torch.Tensor, noise: float = 0.05, n: int = 200, blocks: int = 3) -> PairStates:
    """Pairs that differ by twice `direction` at every block, in a cloud that says nothing."""
    draw = torch.Generator().manual_seed(0)
    width = len(direction)
    cloud = torch.randn(n, blocks, width, generator=draw)
    wobble = noise * torch.randn(2, n, blocks, width, generator=draw)
    return PairStates(
        toward=cloud + direction + wobble[0],
        away=cloud - direction + wobble[1],
        validation=np.arange(n) % 4 == 0,
        suffix=np.arange(n),
        plain=tuple(f"suffix {i}" for i in range(n)),
    )


@pytest.mark.parametrize("method", VECTORS, ids=lambda method: method.name)
def test_a_planted_direction_is_found_with_its_orientation_and_its_size(
    method, tiny_lm, tiny_contrast
) -> None:
    direction = torch.randn(tiny_lm.d_model, generator=torch.Generator().manual_seed(5))
    (edit,) = method.fit(tiny_lm, tiny_contrast, states=planted(direction)).edits
    assert edit.block == 1
    cosine = float(edit.vector @ direction / edit.vector.norm() / direction.norm())
    assert cosine > 0.97
    assert float(edit.vector.norm()) == pytest.approx(float(direction.norm()), rel=0.05)
    (turned,) = method.fit(tiny_lm, tiny_contrast, states=planted(-direction)).edits
    assert float(turned.vector @ direction) < 0


def test_the_block_is_where_the_validation_pairs_agree_most(tiny_lm, tiny_contrast) -> None:
    states = planted(torch.ones(tiny_lm.d_model), noise=0.05)
    noisy = torch.randn(states.toward.shape, generator=torch.Generator().manual_seed(9)) * 3
    noisy[:, 2] = 0
    states = PairStates(states.toward + noisy, states.away, states.validation, states.suffix, states.plain)
    assert states.reading_block == 2
    assert MeanDifference().fit(tiny_lm, tiny_contrast, states=states).edits[0].block == 2


def test_first_component_is_the_leading_singular_vector_whichever_gram_matrix_is_smaller() -> None:
    draw = torch.Generator().manual_seed(0)
    for shape in ((40, 7), (7, 40)):
        rows = torch.randn(shape, generator=draw) + 0.5
        wanted = torch.linalg.svd(rows.double()).Vh[0]
        assert abs(float(first_component(rows).double() @ wanted)) == pytest.approx(1, abs=1e-5)


def test_a_random_direction_has_the_gaps_length_and_depends_on_the_seed_alone(tiny_lm, tiny_contrast) -> None:
    states = planted(torch.ones(tiny_lm.d_model))
    one, again, other = (
        RandomDirection(block=1).fit(tiny_lm, tiny_contrast, seed=seed, states=states).edits[0].vector
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert float(one.norm()) == pytest.approx(float(states.half_gap(1).norm()), rel=1e-4)


def test_pairs_that_do_not_differ_are_a_failure_in_words(tiny_lm, tiny_contrast) -> None:
    states = planted(torch.zeros(tiny_lm.d_model), noise=0.0)
    with pytest.raises(Failure, match="do not differ"):
        MeanDifference(block=1).fit(tiny_lm, tiny_contrast, states=states)


# What is trained takes longer, and has tests of its own.
@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if not isinstance(method, Trained)]
)
def test_every_method_ends_in_a_dial_that_runs_and_returns_the_same_twice(
    name, tiny_lm, tiny_contrast
) -> None:
    states = read_pairs(tiny_lm, tiny_contrast.resolve(tiny_lm))
    first, second = (named(name).fit(tiny_lm, tiny_contrast, seed=3, states=states) for _ in range(2))
    assert str(first) == str(second)
    assert first.words == ("honest", "dishonest")
    with first.at(1), second.at(-1):
        pass
    with first.at(1):
        assert isinstance(tiny_lm.generate("do you like tea ?", max_new_tokens=3), str)


def test_prompting_says_the_first_template_and_engineered_prompting_all_of_them(
    tiny_lm, tiny_contrast
) -> None:
    plain = named("prompting").fit(tiny_lm, tiny_contrast).edits[0]
    assert (plain.toward, plain.away) == ("you are honest .", "you are dishonest .")
    engineered = named("engineered-prompting").fit(tiny_lm, tiny_contrast).edits[0]
    assert engineered.toward == "you are honest . act as an honest person ."


def test_an_unknown_method_is_refused_with_the_names() -> None:
    with pytest.raises(UsageError, match="mean-difference"):
        named("magic")
