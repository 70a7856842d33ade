"""A vector as a bias: where it is exact, and where it is refused, on models that were not built for it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gnomon.dials.exports import to_bias
from gnomon.dials.exports.comparing import Comparison
from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.runs import progress

# The Linear that ends a block, and the parameters that the checkpoint has more than the model.
EXACT = {
    "llama": ("model.layers.{}.mlp.down_proj.bias", "mlp_bias"),
    "gpt2": ("transformer.h.{}.mlp.c_proj.bias", None),
    "gpt_neox": ("gpt_neox.layers.{}.mlp.dense_4h_to_h.bias", None),
    # Attention and MLP side by side: the output of attention is added as it is, and only its bias is an option.
    "cohere": ("model.layers.{}.self_attn.o_proj.bias", "attention_bias"),
}


@pytest.mark.parametrize("family", EXACT)
def test_transformers_gives_the_dials_logits(
    build, plain, vector_dial, helpers, untouched, tmp_path: Path, family: str
) -> None:
    name, option = EXACT[family]
    lm = build(family)
    dial = vector_dial(lm, 0, 2)
    check = untouched(lm)
    exports = to_bias(dial, lm, tmp_path / "out", (1.0, -0.6))
    check()
    before = load_file(f"{lm.name}/model.safetensors")
    for export in exports:
        model = plain(export.path)
        helpers.assert_is_the_dial(model, lm, dial, export.alpha)
        after = load_file(export.path / "model.safetensors")
        changed = {key for key in after if key not in before or not torch.equal(after[key], before[key])}
        given = {key for key in changed if bool(after[key].any())}
        assert given == {name.format(block) for block in (0, 2)}
        for edit in dial.edits:
            old = before.get(name.format(edit.block), torch.zeros(lm.d_model))
            assert torch.allclose(after[name.format(edit.block)] - old, export.alpha * edit.vector, atol=1e-6)
        if option is None:
            assert changed == given
        else:
            assert getattr(model.config, option) is True
            assert getattr(lm.model.config, option) is False
        assert export.difference is not None
        assert export.difference.relative < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["gemma2", "granite", "mixtral"])
def test_a_norm_a_scale_or_experts_behind_the_linear_are_refused(
    build, vector_dial, untouched, tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    """Gemma norms the output, Granite multiplies it (here by 0.9), a mixture's last Linear is no Linear."""
    lm = build(family, dtype)
    check = untouched(lm)
    with pytest.raises(
        UsageError, match=r"no Linear of block 1 of .* is added to the residual stream as it is"
    ):
        to_bias(vector_dial(lm), lm, tmp_path / "out")
    check()
    assert list(tmp_path.iterdir()) == []


def test_a_family_without_an_option_for_the_bias_is_refused(build, vector_dial, tmp_path: Path) -> None:
    lm = build("qwen2")
    with pytest.raises(UsageError, match=r"down_proj of .* has no bias and the config of qwen2 no option"):
        to_bias(vector_dial(lm), lm, tmp_path / "out")


def test_on_a_touchstone_and_what_the_first_token_costs(plain, vector_dial, helpers, tmp_path: Path) -> None:
    """A dial that leaves the first token alone is exported as if it did not, and the difference is the one measured."""
    lm = LM.load("touchstone:honesty")
    alone, dial = (vector_dial(lm, 1, first_token=whether) * 4.0 for whether in (False, True))
    (exact,) = to_bias(dial, lm, tmp_path / "exact", [1.0])
    (inexact,) = to_bias(alone, lm, tmp_path / "inexact", [1.0], inexact=True)
    for export in (exact, inexact):
        helpers.assert_is_the_dial(plain(export.path), lm, dial, 1.0)
    assert exact.difference is not None
    assert inexact.difference is not None
    assert exact.difference.relative < 1e-5
    assert inexact.difference.relative > 0.01

    comparison = Comparison(alone, lm, progress)
    ids, real = comparison.tokens.input_ids, comparison.tokens.attention_mask
    largest = 0.0
    for row, width in zip(ids, real.sum(dim=1), strict=True):
        with lm.edited(alone.edits, 1.0), torch.no_grad():
            wanted = lm.model(input_ids=row[None, :width]).logits[0, 1:]
        with lm.edited(alone.edits, 1.0, first_token=True), torch.no_grad():
            given = lm.model(input_ids=row[None, :width]).logits[0, 1:]
        largest = max(largest, float((wanted - given).abs().max()))
    assert inexact.difference.largest == pytest.approx(largest, rel=1e-3)
    assert f"by at most {largest:.2g}" in str(inexact)
