"""`gnomon export`: every format from a dial's folder, and one sentence for what cannot be."""

from pathlib import Path

import pytest
import torch

from gnomon.dials import AddVector, Dial, FreeCore, LowRank, Prefix
from gnomon.dials.exports import FORMATS
from gnomon.lm import LM


@pytest.fixture(scope="module")
def touchstone() -> LM:
    return LM.load("touchstone:honesty")


@pytest.fixture
def dials(touchstone: LM, tmp_path: Path) -> dict[str, Path]:
    """A low-rank dial, a vector that leaves the first token alone, and a prompt, each in its folder."""
    generator = torch.Generator().manual_seed(0)
    linear = touchstone.linears()["model.layers.2.mlp.down_proj"]
    u, v = (torch.linalg.qr(torch.randn(n, 4, generator=generator)).Q for n in linear.weight.shape)
    edit = LowRank("model.layers.2.mlp.down_proj", u, v, FreeCore(3 * torch.randn(4, 4, generator=generator)))
    vector = AddVector(1, torch.randn(touchstone.d_model, generator=generator))
    made = {
        "low": Dial((edit,), name="low", first_token=True),
        "vector": Dial((vector,), name="vector"),
        "prompt": Dial((Prefix("be honest", "lie"),), name="prompt", first_token=True),
    }
    return {name: dial.bound(touchstone).save(tmp_path / f"{name}.dial") for name, dial in made.items()}


def test_a_lora_at_both_ends_by_default(invoke, dials, tmp_path: Path) -> None:
    result = invoke("export", dials["low"], "--to", "lora", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first.startswith(
        f"{tmp_path / 'out' / 'alpha+1'}: a LoRA of rank 4 on 1 Linear at alpha = +1; logits differ"
    )
    assert second.startswith(
        f"{tmp_path / 'out' / 'alpha-1'}: a LoRA of rank 4 on 1 Linear at alpha = -1; logits"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alpha+1", "alpha-1"]
    assert sorted(path.name for path in (tmp_path / "out" / "alpha-1").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize(("to", "dial"), [("merged", "low"), ("bias", "vector"), ("gguf", "vector")])
def test_other_formats_at_a_coefficient_of_ones_own(
    invoke, dials, tmp_path: Path, to: str, dial: str
) -> None:
    more = ("--inexact",) if dial == "vector" else ()
    result = invoke("export", dials[dial], "--to", to, "--alpha", "-0.5", "--out", tmp_path / "out", *more)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    (made,) = (tmp_path / "out").iterdir()
    assert made.name == ("alpha-0.5.gguf" if to == "gguf" else "alpha-0.5")
    assert line.startswith(f"{made}: ")
    assert "at alpha = -0.5" in line


def test_options_of_the_model_reach_it(invoke, dials, tmp_path: Path) -> None:
    arguments = ("export", dials["low"], "--to", "merged", "--alpha", 1, "--out", tmp_path / "out")
    result = invoke(*arguments, "--dtype", "float16")
    assert result.exit_code == 0, result.output
    assert "a checkpoint in float16 with 1 changed weight" in result.stdout
    assert "the largest rounding of a weight is" in result.stdout


def test_the_model_is_the_dials_own_unless_another_is_named(
    invoke, refused, dials, touchstone, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    changed = LM.load("touchstone:honesty")
    with torch.no_grad():
        changed.linears()["model.layers.2.mlp.down_proj"].weight *= 1.01
    changed.model.save_pretrained(other)
    changed.tokenizer.save_pretrained(other)
    arguments = ("export", dials["low"], "--to", "lora", "--alpha", 1)
    result = invoke(*arguments, "--out", tmp_path / "named", "--model", other)
    assert result.exit_code == 0, result.output
    assert "warning: the dial 'low' was made for touchstone:honesty with other weights" in result.stderr
    named = (tmp_path / "named" / "alpha+1" / "adapter_config.json").read_text()
    assert f'"base_model_name_or_path": "{other}"' in named

    nameless = Dial.load(dials["low"])
    object.__setattr__(nameless, "base_model", "")
    nameless.save(tmp_path / "nameless.dial")
    said = refused(2, "export", tmp_path / "nameless.dial", "--to", "lora", "--out", tmp_path / "out")
    assert "does not say which model it was made for; name it with --model" in said


@pytest.mark.parametrize(
    ("dial", "arguments", "message"),
    [
        ("vector", ("--to", "bias"), "leaves the first token of a sequence alone"),
        ("low", ("--to", "gguf"), "a control vector holds vectors only"),
        ("prompt", ("--to", "lora"), "put its text before the prompt instead"),
        ("low", ("--to", "onnx"), "there is no export 'onnx'"),
        ("low", ("--to", "lora", "--alpha", "0"), "alpha cannot be 0"),
        ("low", ("--to", "merged", "--quantization", "5"), "quantization"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_opened(
    refused, dials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dial: str, arguments, message: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the model was opened")

    monkeypatch.setattr(LM, "load", never)
    assert message in refused(2, "export", dials[dial], *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_that_are_no_dial_and_folders_that_are_full(refused, dials, tmp_path: Path) -> None:
    said = refused(2, "export", tmp_path, "--to", "lora", "--out", tmp_path / "out")
    assert "holds no dial" in said
    said = refused(2, "export", dials["low"], "--to", "lora", "--out", tmp_path)
    assert "exists already and is not an empty folder" in said


def test_a_missing_package_names_the_extra(refused, dials, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "peft" else object())
    said = refused(2, "export", dials["low"], "--to", "lora", "--out", tmp_path / "out")
    assert "pip install 'gnomon[export]'" in said


def test_the_help_names_every_format_and_has_an_example(invoke) -> None:
    result = invoke("export", "--help", env={"COLUMNS": "200"})
    assert all(name in result.stdout for name in FORMATS)
    assert (
        "Example: gnomon export honesty.dial --to lora --alpha 1 --alpha -1 --out honesty-lora"
        in result.stdout
    )
    assert "[default: 1 and -1]" in result.stdout
