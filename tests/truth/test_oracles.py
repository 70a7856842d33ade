"""Mean difference and PCA of the packaged touchstone against a second derivation: numpy, one prompt per forward.

The second way shares nothing with the library but the weights: plain transformers, no batches, no padding, no shared
beginnings, no early stop; the last block's output is caught where the final norm takes it in. Benchmarks compare the same
directions with the peers' own packages.
"""

import numpy as np
import pytest
import torch

from gnomon import LM, Contrast
from gnomon.contrast import read_pairs
from gnomon.methods import PCA, MeanDifference


@pytest.fixture(scope="module")
def derived():
    """A model, a contrast, the pairs' states as the library reads them, and the same derived prompt by prompt."""
    lm = LM.load("touchstone:honesty", device="cpu", dtype="float32")
    contrast = Contrast("honest", "dishonest", max_pairs=48)
    pairs = contrast.resolve(lm)
    before_norm = []
    handle = lm.model.model.norm.register_forward_pre_hook(
        lambda module, args: before_norm.append(args[0][0, -1])
    )
    try:
        differences = np.stack(
            [
                at_last_token(lm, toward, before_norm) - at_last_token(lm, away, before_norm)
                for toward, away, kept in zip(pairs.toward, pairs.away, pairs.validation, strict=True)
                if not kept
            ]
        )
    finally:
        handle.remove()
    return lm, contrast, read_pairs(lm, pairs), differences


def at_last_token(lm, text, before_norm) -> np.ndarray:
    ids = [lm.tokenizer.bos_token_id, *lm.tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        output = lm.model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    # hidden_states[0] is the embedding, and the last one has been through the final norm.
    states = [hidden[0, -1] for hidden in output.hidden_states[1:-1]]
    return torch.stack([*states, before_norm[-1]]).double().numpy()


def test_states_of_every_block_are_those_of_plain_forwards(derived) -> None:
    lm, _, states, differences = derived
    for block in range(lm.n_blocks):
        read = states.differences(block, validation=False).numpy()
        np.testing.assert_allclose(
            read, differences[:, block], atol=2e-4 * np.abs(differences[:, block]).max()
        )


def test_mean_difference_is_half_of_the_mean_of_the_training_pairs(derived) -> None:
    lm, contrast, states, differences = derived
    for block in range(lm.n_blocks):
        (edit,) = MeanDifference(block=block).fit(lm, contrast, states=states).edits
        wanted = differences[:, block].mean(axis=0) / 2
        found = edit.vector.double().numpy()
        sign = np.sign(found @ wanted)
        np.testing.assert_allclose(sign * found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_pca_is_the_leading_right_singular_vector_of_the_uncentred_differences(derived) -> None:
    lm, contrast, states, differences = derived
    for block in range(lm.n_blocks):
        (edit,) = PCA(block=block).fit(lm, contrast, states=states).edits
        component = np.linalg.svd(differences[:, block], full_matrices=False)[2][0]
        found = edit.vector.double().numpy()
        assert abs(found @ component) / np.linalg.norm(found) > 0.99999
