"""Checkpoints that transformers opens: the dial's logits, every other weight as it was, the rounding told."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gnomon.dials import Dial
from gnomon.dials.exports import merged, to_merged
from gnomon.errors import Failure, UsageError
from gnomon.lm import LM

FAMILIES = ("llama", "gpt2", "qwen2", "gpt_neox", "gemma2", "mixtral")
CASES = [*((family, "rotation") for family in FAMILIES), ("llama", "free"), ("gpt2", "free")]


@pytest.mark.parametrize(("family", "core"), CASES)
def test_transformers_gives_the_dials_logits(
    build, plain, low_rank_dial, helpers, untouched, tmp_path: Path, family: str, core: str
) -> None:
    lm = build(family)
    dial = low_rank_dial(lm, core)
    check = untouched(lm)
    exports = to_merged(dial, lm, tmp_path / "out", (1.0, -0.6))
    check()
    before = load_file(f"{lm.name}/model.safetensors")
    for export in exports:
        helpers.assert_is_the_dial(plain(export.path), lm, dial, export.alpha)
        after = load_file(export.path / "model.safetensors")
        assert after.keys() == before.keys()
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        assert changed == {f"{edit.module}.weight" for edit in dial.edits}
        for edit in dial.edits:
            change = after[f"{edit.module}.weight"] - before[f"{edit.module}.weight"]
            expected = edit.U @ edit.core.matrix(export.alpha) @ edit.V.mT
            assert torch.allclose(change, expected.mT if family == "gpt2" else expected, atol=1e-5)
        assert export.rounding == 0
        assert export.difference is not None
        assert export.difference.relative < 1e-5


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float16, 0.003), (torch.bfloat16, 0.02)])
def test_merged_in_float32_and_rounded_once(
    build, plain, low_rank_dial, helpers, tmp_path: Path, dtype: torch.dtype, relative: float
) -> None:
    lm = build("llama", dtype)
    dial = low_rank_dial(lm)
    (export,) = to_merged(dial, lm, tmp_path / "out", [1.0])
    after = load_file(export.path / "model.safetensors")
    largest = 0.0
    for edit in dial.edits:
        weight = lm.linears()[edit.module].weight.detach()
        exact = weight.float() + edit.U @ (edit.core.matrix(1.0) @ edit.V.mT)
        stored = after[f"{edit.module}.weight"]
        assert stored.dtype == dtype
        # Sums in another order differ in the last bit of float32, and so now and then in one of half precision.
        assert (stored == exact.to(dtype)).float().mean() > 0.99
        largest = max(largest, float((stored.float() - exact).abs().max()))
    assert export.rounding == pytest.approx(largest, rel=1e-3)
    assert 0 < export.rounding < 0.01
    assert f"the largest rounding of a weight is {export.rounding:.2g}" in str(export)
    helpers.assert_is_the_dial(plain(export.path, dtype), lm, dial, 1.0, relative)


def test_low_rank_edits_and_vectors_in_one_checkpoint(
    build, plain, low_rank_dial, vector_dial, helpers, tmp_path: Path
) -> None:
    lm = build("llama")
    dial = low_rank_dial(lm) + vector_dial(lm, 1, 2)
    (export,) = to_merged(dial, lm, tmp_path / "out", [-1.0])
    helpers.assert_is_the_dial(plain(export.path), lm, dial, -1.0)
    assert "2 changed weights and a bias on model.layers.1.mlp.down_proj and model.layers.2.mlp" in str(
        export
    )
    other = build("qwen2")
    both = low_rank_dial(other) + vector_dial(other)
    with pytest.raises(UsageError, match="no option that gives it one"):
        to_merged(both, other, tmp_path / "other")


def test_a_touchstone_with_tied_embeddings_in_its_own_half_precision(
    low_rank, plain, helpers, tmp_path: Path
) -> None:
    lm = LM.load("touchstone:honesty", dtype="float16")
    edits = tuple(low_rank(lm, f"model.layers.{block}.mlp.down_proj", seed=block) for block in range(3))
    dial = Dial(edits, first_token=True).bound(lm)
    (export,) = to_merged(dial, lm, tmp_path / "out", [1.0])
    assert "lm_head.weight" not in load_file(export.path / "model.safetensors")
    assert json.loads((export.path / "config.json").read_text())["dtype"] == "float16"
    helpers.assert_is_the_dial(plain(export.path, torch.float16), lm, dial, 1.0, relative=0.003)
    again = LM.load(export.path, dtype="float16")
    assert again.architecture_id == lm.architecture_id
    assert again.encode(["you broke the vase ."]) == lm.encode(["you broke the vase ."])


def test_quantised_and_offloaded_weights_are_refused(
    build, low_rank_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = build("llama")
    dial = low_rank_dial(lm)
    monkeypatch.setattr(lm.model, "is_quantized", True, raising=False)
    with pytest.raises(UsageError, match=r"are quantised and would lose what is merged into them; .* lora"):
        to_merged(dial, lm, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(merged, "offloaded", lambda _: True)
    with pytest.raises(UsageError, match="are offloaded; open it in memory"):
        to_merged(dial, lm, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_large_checkpoint_is_not_opened_again(
    build, low_rank_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = build("llama")
    opened = []
    load = LM.load
    monkeypatch.setattr(LM, "load", lambda *given, **how: opened.append(given) or load(*given, **how))
    to_merged(low_rank_dial(lm), lm, tmp_path / "small", [1.0])
    assert len(opened) == 1
    monkeypatch.setattr(merged, "OPENED_AGAIN", 1000)
    (export,) = to_merged(low_rank_dial(lm), lm, tmp_path / "large", [1.0])
    assert len(opened) == 1
    assert export.difference is not None
    assert export.difference.relative < 1e-5


def test_a_checkpoint_that_is_not_the_dial_is_not_kept(
    build, low_rank_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = build("gpt2")
    change = merged._change
    monkeypatch.setattr(merged, "_change", lambda *given: -change(*given))
    with pytest.raises(Failure, match="is not the dial and was not kept"):
        to_merged(low_rank_dial(lm), lm, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [SafetensorError("no space left\non device"), ValueError("bad generation")])
def test_what_transformers_cannot_write_is_one_sentence(
    build, low_rank_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    lm = build("llama")
    monkeypatch.setattr(type(lm.model), "save_pretrained", refuse)
    with pytest.raises(
        Failure, match=r"could not write the checkpoint \((no space left on|bad gen)"
    ) as raised:
        to_merged(low_rank_dial(lm), lm, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_transformers_stays_as_loud_as_it_was(build, low_rank_dial, tmp_path: Path, capfd) -> None:
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    lm = build("llama")
    to_merged(low_rank_dial(lm), lm, tmp_path / "out", [1.0])
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)
    assert capfd.readouterr() == ("", "")
