"""Next-token terms in chunks: the same as with all logits at once, at a fraction of the memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gnomon.training.vocabulary import IGNORED, next_token_entropy, next_token_terms

Head = Callable[[torch.Tensor], torch.Tensor]


def case(n: int = 23, d: int = 6, vocabulary: int = 17, dtype: torch.dtype = torch.float32, seed: int = 0):
    """A head with softcapping, hidden states, tokens, reference states, and which positions are compared."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(vocabulary, d, generator=draw).to(dtype).requires_grad_()
    hidden, reference = torch.randn(2, n, d, generator=draw).to(dtype)
    tokens = torch.randint(vocabulary, (n,), generator=draw)
    compared = torch.rand(n, generator=draw) < 0.5
    return (lambda h: 5 * torch.tanh(h @ weight.mT / 5)), weight, hidden, tokens, reference, compared


def naive(
    head: Head, hidden: torch.Tensor, tokens: torch.Tensor, reference: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    log_p, log_ref = head(hidden).log_softmax(-1), head(reference).log_softmax(-1)
    return log_p.gather(-1, tokens[:, None]).squeeze(-1), (log_ref.exp() - log_p.exp()).abs().sum(-1) / 2


@pytest.mark.parametrize("positions_per_chunk", [1, 5, 1000])
def test_values_and_gradients_are_those_of_all_logits_at_once(positions_per_chunk: int) -> None:
    head, weight, hidden, tokens, reference, compared = case()
    budget = positions_per_chunk * 17 * 4
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    terms = next_token_terms(head, ours, tokens, reference=reference, compared=compared, budget_bytes=budget)
    log_prob, variation = naive(head, theirs, tokens, reference)
    assert torch.allclose(terms.log_prob, log_prob, atol=1e-5)
    assert torch.allclose(terms.total_variation[compared], variation[compared], atol=1e-5)
    assert not terms.total_variation[~compared].any()
    # A loss that weighs every position and both terms differently, and is not linear in them.
    weights = torch.linspace(-1, 2, len(tokens))
    (weights * (terms.log_prob.square() + (10 * terms.total_variation).log1p())).sum().backward()
    (weights * (log_prob.square() + (10 * variation * compared).log1p())).sum().backward()
    assert ours.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)
    assert float(ours.grad.abs().max()) > 0.1
    assert weight.grad is None or weight.grad.isfinite().all()


def test_the_gradient_is_that_of_finite_differences() -> None:
    head, _, hidden, tokens, reference, compared = case(n=5, dtype=torch.float64)
    tokens[1] = IGNORED

    def both(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        terms = next_token_terms(
            head, states, tokens, reference=reference, compared=compared, budget_bytes=300
        )
        return terms.log_prob, terms.total_variation

    assert compared.any()
    assert torch.autograd.gradcheck(both, hidden.requires_grad_())


def test_gradients_go_on_through_what_made_the_hidden_states() -> None:
    head, _, hidden, tokens, _, _ = case()
    scale = torch.tensor(1.3, requires_grad=True)
    next_token_terms(head, scale * hidden, tokens).log_prob.mean().backward()
    ours = scale.grad
    again = torch.tensor(1.3, requires_grad=True)
    naive(head, again * hidden, tokens, hidden)[0].mean().backward()
    assert ours is not None
    assert torch.allclose(ours, again.grad, atol=1e-6)


def test_the_head_gets_no_gradient() -> None:
    head, weight, hidden, tokens, reference, _ = case()
    terms = next_token_terms(head, hidden.requires_grad_(), tokens, reference=reference.requires_grad_())
    (terms.log_prob + terms.total_variation).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None
    assert reference.grad is None


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 500), st.integers(1, 30))
def test_what_is_not_asked_for_goes_through_no_head_and_is_zero(seed: int, chunk: int) -> None:
    head, _, hidden, tokens, reference, compared = case(seed=seed)
    read = torch.rand(len(tokens), generator=torch.Generator().manual_seed(seed + 1)) < 0.6
    tokens = torch.where(read, tokens, IGNORED)
    calls: list[torch.Tensor] = []

    def counting(states: torch.Tensor) -> torch.Tensor:
        calls.append(states)
        return head(states)

    states = hidden.clone().requires_grad_()
    terms = next_token_terms(
        counting, states, tokens, reference=reference, compared=compared, budget_bytes=4 * 17 * chunk
    )
    assert sum(map(len, calls[1:])) == int((read | compared).sum()) + int(
        compared.sum()
    )  # the first asks the width
    log_prob, variation = naive(head, hidden, tokens.clamp_min(0), reference)
    assert torch.allclose(terms.log_prob, torch.where(read, log_prob, 0), atol=1e-5)
    assert torch.allclose(terms.total_variation, torch.where(compared, variation, 0), atol=1e-5)
    (terms.log_prob + terms.total_variation).sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad.abs().sum(-1) > 0, read | compared)


def test_without_gradients_none_is_prepared() -> None:
    head, _, hidden, tokens, reference, _ = case()
    seen: list[bool] = []

    def watching(states: torch.Tensor) -> torch.Tensor:
        logits = head(states)
        seen.append(logits.requires_grad)
        return logits

    plain = next_token_terms(watching, hidden, tokens, reference=reference)
    with torch.no_grad():
        off = next_token_terms(watching, hidden.clone().requires_grad_(), tokens, reference=reference)
    assert not any(seen)
    assert not plain.log_prob.requires_grad
    assert torch.equal(plain.log_prob, off.log_prob)
    assert torch.equal(plain.total_variation, off.total_variation)


def test_the_same_distribution_has_no_variation_and_a_disjoint_one_has_all() -> None:
    hidden = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    terms = next_token_terms(lambda h: h, hidden, torch.tensor([0, 0]), reference=hidden[[0, 0]])
    assert terms.total_variation.tolist() == pytest.approx([0, 1])
    assert terms.log_prob.tolist() == pytest.approx(
        [0, -50]
    )  # far below the smallest float32 probability is no trouble


def test_half_precision_states_give_float32_terms() -> None:
    head, _, hidden, tokens, reference, _ = case(dtype=torch.bfloat16)
    terms = next_token_terms(head, hidden.requires_grad_(), tokens, reference=reference)
    assert terms.log_prob.dtype == terms.total_variation.dtype == torch.float32
    logits = head(hidden).float()
    assert torch.allclose(
        terms.log_prob, logits.log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1), atol=1e-5
    )
    terms.total_variation.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16


def test_forbidden_tokens_are_no_trouble() -> None:
    """A head may give minus infinity to tokens that do not exist."""
    mask = torch.tensor([0.0, 0.0, -torch.inf])
    hidden = torch.randn(4, 3, requires_grad=True)
    terms = next_token_terms(
        lambda h: h + mask, hidden, torch.zeros(4, dtype=torch.long), reference=torch.randn(4, 3)
    )
    (terms.log_prob + terms.total_variation).sum().backward()
    assert hidden.grad is not None
    assert bool(hidden.grad.isfinite().all())
    assert bool(next_token_entropy(lambda h: h + mask, hidden).isfinite().all())


def test_no_positions_are_no_error() -> None:
    head, _, hidden, tokens, reference, compared = case()
    empty = next_token_terms(
        head, hidden[:0].requires_grad_(), tokens[:0], reference=reference[:0], compared=compared[:0]
    )
    assert empty.log_prob.shape == empty.total_variation.shape == (0,)
    assert next_token_entropy(head, hidden[:0]).shape == (0,)


def test_entropy_is_that_of_all_logits_at_once() -> None:
    head, _, hidden, _, _, _ = case()
    p = head(hidden).softmax(-1)
    wanted = -(p * p.log()).sum(-1)
    assert torch.allclose(next_token_entropy(head, hidden, budget_bytes=3 * 17 * 4), wanted, atol=1e-5)
    uniform = next_token_entropy(lambda h: torch.zeros(len(h), 8), hidden)
    assert torch.allclose(uniform, torch.tensor(8.0).log())


class LiveBytes(TorchDispatchMode):
    """The most bytes of tensors that were alive at once, and the largest tensor, of those made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {
            tensor.untyped_storage()._cdata
            for tensor in tree_leaves(args)
            if isinstance(tensor, torch.Tensor)
        }
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in given:
                storage = tensor.untyped_storage()
                self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
                self.largest = max(self.largest, storage.nbytes())
        self.alive = {key: kept for key, kept in self.alive.items() if not kept[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


def test_peak_memory_is_a_few_chunks_and_not_all_logits() -> None:
    n, d, vocabulary, positions = 512, 8, 50_000, 8
    chunk = positions * vocabulary * 4
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(vocabulary, d, generator=draw)
    hidden, reference = torch.randn(2, n, d, generator=draw)
    hidden.requires_grad_()
    tokens = torch.randint(vocabulary, (n,), generator=draw)
    with LiveBytes() as ours:
        terms = next_token_terms(
            lambda h: h @ weight.mT,
            hidden,
            tokens,
            reference=reference,
            compared=torch.arange(n) < 64,
            budget_bytes=chunk,
        )
        (terms.log_prob.sum() + terms.total_variation.sum()).backward()
    with LiveBytes() as all_at_once:
        naive(lambda h: h @ weight.mT, hidden[:32], tokens[:32], reference[:32])
    assert all_at_once.peak >= 3 * 32 * vocabulary * 4  # the measure sees what it should
    assert ours.largest <= chunk
    assert ours.peak < 4 * chunk
    assert 4 * chunk < n * vocabulary * 4 / 12
