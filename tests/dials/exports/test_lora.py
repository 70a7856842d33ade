"""Adapters that PEFT loads onto a plain transformers model: the dial's logits, at each coefficient."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gnomon.dials import Dial
from gnomon.dials.exports import lora, to_lora
from gnomon.errors import Failure, UsageError
from gnomon.lm import LM

FAMILIES = ("llama", "gpt2", "qwen2", "gpt_neox", "gemma2", "mixtral")
CASES = [*((family, "rotation") for family in FAMILIES), ("llama", "free"), ("gpt2", "free")]
ALPHAS = (1.0, -1.0, 0.4)


@pytest.mark.parametrize(("family", "core"), CASES)
def test_peft_gives_the_dials_logits(
    build, plain, low_rank_dial, helpers, untouched, tmp_path: Path, family: str, core: str
) -> None:
    from peft import PeftModel

    lm = build(family)
    dial = low_rank_dial(lm, core)
    check = untouched(lm)
    exports = to_lora(dial, lm, tmp_path / "out", ALPHAS)
    check()
    assert [export.path.name for export in exports] == ["alpha+1", "alpha-1", "alpha+0.4"]
    for alpha, export in zip(ALPHAS, exports, strict=True):
        assert sorted(path.name for path in export.path.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        model = PeftModel.from_pretrained(plain(lm.name), export.path).eval()
        helpers.assert_is_the_dial(model, lm, dial, alpha)
        helpers.assert_is_the_dial(model.merge_and_unload(), lm, dial, alpha)
        assert export.difference is not None
        assert export.difference.relative < 1e-5
        assert export.difference.effect > 0.01


def test_both_signs_in_one_model(build, plain, low_rank_dial, helpers, tmp_path: Path) -> None:
    """An engine holds both adapters and switches; transformers' own door loads one too."""
    from peft import PeftModel

    lm = build("llama")
    dial = low_rank_dial(lm)
    more, less = to_lora(dial, lm, tmp_path / "out")
    model = PeftModel.from_pretrained(plain(lm.name), more.path, adapter_name="more")
    model.load_adapter(less.path, adapter_name="less")
    model.eval()
    for name, alpha in (("less", -1.0), ("more", 1.0)):
        model.set_adapter(name)
        helpers.assert_is_the_dial(model, lm, dial, alpha)
    own = plain(lm.name)
    own.load_adapter(str(less.path))
    helpers.assert_is_the_dial(own, lm, dial, -1.0)


def test_the_files_hold_u_and_m_v(build, low_rank_dial, tmp_path: Path) -> None:
    lm = build("gpt2")
    dial = low_rank_dial(lm)
    (export,) = to_lora(dial, lm, tmp_path / "out", [-0.7])
    tensors = load_file(export.path / "adapter_model.safetensors")
    config = json.loads((export.path / "adapter_config.json").read_text())
    assert len(tensors) == 2 * len(dial.edits)
    for edit in dial.edits:
        a = tensors[f"base_model.model.{edit.module}.lora_A.weight"]
        b = tensors[f"base_model.model.{edit.module}.lora_B.weight"]
        rank = config["rank_pattern"].get(edit.module, config["r"])
        assert (len(a), b.shape[1]) == (rank, rank)
        assert rank == edit.core.rank
        assert config["alpha_pattern"].get(edit.module, config["lora_alpha"]) == rank
        assert torch.allclose(b @ a, edit.U @ edit.core.matrix(-0.7) @ edit.V.mT, atol=1e-6)
        assert a.dtype == b.dtype == torch.float32
    assert config["fan_in_fan_out"] is True
    assert config["peft_type"] == "LORA"
    assert (config["bias"], config["use_rslora"], config["use_dora"]) == ("none", False, False)
    assert config["base_model_name_or_path"] == lm.name


def test_two_edits_of_one_linear_stand_side_by_side(build, plain, low_rank, helpers, tmp_path: Path) -> None:
    from peft import PeftModel

    lm = build("llama")
    module = "model.layers.1.self_attn.o_proj"
    both = [
        Dial((low_rank(lm, module, core=core, rank=rank, seed=rank),), first_token=True).bound(lm)
        for core, rank in (("free", 2), ("rotation", 4))
    ]
    dial = both[0] + 0.5 * both[1]
    (export,) = to_lora(dial, lm, tmp_path / "out", [1.0])
    config = json.loads((export.path / "adapter_config.json").read_text())
    assert (config["r"], config["rank_pattern"], config["fan_in_fan_out"]) == (6, {}, False)
    helpers.assert_is_the_dial(PeftModel.from_pretrained(plain(lm.name), export.path), lm, dial, 1.0)


def test_a_half_precision_model_takes_the_adapter(
    build, plain, low_rank_dial, helpers, untouched, tmp_path: Path
) -> None:
    from peft import PeftModel

    lm = build("llama", torch.bfloat16)
    dial = low_rank_dial(lm)
    check = untouched(lm)
    (export,) = to_lora(dial, lm, tmp_path / "out", [1.0])
    check()
    model = PeftModel.from_pretrained(plain(lm.name, torch.bfloat16), export.path).eval()
    helpers.assert_is_the_dial(model, lm, dial, 1.0, relative=0.015)


def test_on_a_touchstone(low_rank, helpers, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from gnomon import touchstones

    lm = LM.load("touchstone:honesty")
    modules = [f"model.layers.{block}.mlp.down_proj" for block in range(lm.n_blocks)]
    edits = tuple(low_rank(lm, module, rank=8, seed=i) for i, module in enumerate(modules))
    dial = Dial(edits, first_token=True).bound(lm)
    base = AutoModelForCausalLM.from_pretrained(touchstones.folder("honesty"), dtype=torch.float32)
    for export in to_lora(dial, lm, tmp_path / "out"):
        model = PeftModel.from_pretrained(base, export.path).eval()
        helpers.assert_is_the_dial(model, lm, dial, export.alpha)
        base = model.unload()


def test_an_adapter_that_is_not_the_dial_is_not_kept(
    build, low_rank_dial, untouched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = build("llama")
    write = lora.write_adapter

    def damaged(folder: Path, *rest: object) -> None:
        write(folder, *rest)
        file = folder / "adapter_model.safetensors"
        save_file({name: -tensor for name, tensor in load_file(file).items() if "lora_B" in name}, file)

    monkeypatch.setattr(lora, "write_adapter", damaged)
    check = untouched(lm)
    with pytest.raises(Failure, match="is not the dial and was not kept"):
        to_lora(low_rank_dial(lm), lm, tmp_path / "out")
    check()
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_are_a_failure(
    build, low_rank_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = build("llama")
    monkeypatch.setattr(lora, "_loaded", lambda comparison, *_: comparison.base * math.nan)
    with pytest.raises(Failure, match="not kept"):
        to_lora(low_rank_dial(lm), lm, tmp_path / "out")


def test_offloaded_weights_are_not_compared_and_said_so(
    build, low_rank_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = build("llama")
    monkeypatch.setattr(lora, "offloaded", lambda _: True)
    (export,) = to_lora(low_rank_dial(lm), lm, tmp_path / "out", [1.0])
    assert export.difference is None
    assert "not compared: the model's weights are offloaded" in str(export)
    assert (export.path / "adapter_config.json").is_file()


def test_an_adapter_below_is_named(build, low_rank_dial, tmp_path: Path) -> None:
    """A model that was opened with an adapter is not the base model that the name says."""
    lm = build("qwen2")
    lm.settings["adapter"] = "some/adapter"
    try:
        (export,) = to_lora(low_rank_dial(lm), lm, tmp_path / "out", [1.0])
    finally:
        del lm.settings["adapter"]
    assert f"of {lm.name} with the adapter some/adapter merged into it" in str(export)


def test_without_peft_the_extra_is_named(
    build, low_rank_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "peft" else object())
    lm = build("llama")
    with pytest.raises(UsageError, match=r"needs the package peft: .*pip install 'gnomon\[export\]'"):
        to_lora(low_rank_dial(lm), lm, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
