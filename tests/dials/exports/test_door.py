"""What is refused before anything is computed, each in one sentence that says what to do."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from gnomon.dials import Dial, Prefix
from gnomon.dials.exports import FORMATS, check
from gnomon.errors import UsageError
from gnomon.lm import LM


@pytest.fixture
def dials(build, low_rank_dial, vector_dial) -> dict[str, Dial]:
    lm = build("llama")
    low, vector = low_rank_dial(lm), vector_dial(lm)
    return {
        "low rank": low,
        "vector": vector,
        "mixed": low + vector,
        "prompt": Dial((Prefix("be kind", "be cruel"),), name="prompt", first_token=True),
        "prompt and vector": replace(vector, edits=(*vector.edits, Prefix("be kind", "be cruel"))),
    }


HELD = {
    "lora": {"low rank"},
    "merged": {"low rank", "vector", "mixed"},
    "gguf": {"vector"},
    "bias": {"vector"},
}


@pytest.mark.parametrize("to", HELD)
def test_every_format_says_what_it_cannot_hold(dials, tmp_path: Path, to: str) -> None:
    assert set(HELD) == set(FORMATS)
    for name, dial in dials.items():
        if name in HELD[to]:
            check(to, dial, tmp_path / "out", [1.0])
            continue
        with pytest.raises(UsageError, match=r"holds .* only and the dial '.*' has another edit, ") as error:
            check(to, dial, tmp_path / "out", [1.0])
        advice = str(error.value).split("; ")[-1]
        able = sorted(other for other, held in HELD.items() if name in held)
        if able:
            assert sorted(advice.removeprefix("choose ").split(", ")) == able
        else:
            assert advice == "a prompt changes no weight, so put its text before the prompt instead"


def test_the_sentence_names_the_edit(dials, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a LoRA holds low-rank edits only .*, vector at block 1 \(norm"):
        check("lora", dials["mixed"], tmp_path / "out", [1.0])
    with pytest.raises(UsageError, match=r"a control vector holds vectors only .*, rank 2 on model"):
        check("gguf", dials["mixed"], tmp_path / "out", [1.0])


@pytest.mark.parametrize("to", HELD)
def test_the_first_token_has_to_be_spoken_of(dials, tmp_path: Path, to: str) -> None:
    name = sorted(HELD[to])[0]
    alone = replace(dials[name], first_token=False)
    with pytest.raises(
        UsageError, match=r"leaves the first token of a sequence alone .* inexact \(--inexact\)"
    ):
        check(to, alone, tmp_path / "out", [1.0])
    check(to, alone, tmp_path / "out", [1.0], inexact=True)


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ([], "no alpha is given"),
        ([0.0], "alpha cannot be 0"),
        ([1.0, float("nan")], "alpha cannot be nan"),
        ([float("inf")], "alpha cannot be inf"),
        ([1.0, 1], "two of the alphas are the same: 1, 1"),
    ],
)
def test_coefficients(dials, tmp_path: Path, alphas: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check("lora", dials["low rank"], tmp_path / "out", alphas)


def test_formats_and_folders(dials, tmp_path: Path) -> None:
    dial = dials["low rank"]
    with pytest.raises(UsageError, match="no export 'onnx'; choose from lora, merged, gguf, bias"):
        check("onnx", dial, tmp_path / "out", [1.0])
    (tmp_path / "empty").mkdir()
    check("lora", dial, tmp_path / "empty", [1.0])
    with pytest.raises(UsageError, match="exists already and is not an empty folder"):
        check("lora", dial, tmp_path, [1.0])
    (tmp_path / "file").write_text("something")
    with pytest.raises(UsageError, match="exists already and is not an empty folder"):
        check("lora", dial, tmp_path / "file", [1.0])


def test_a_full_folder_is_left_as_it_is(build, dials, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("something")
    for to, names in HELD.items():
        with pytest.raises(UsageError, match="not an empty folder"):
            FORMATS[to](dials[min(names)], build("llama"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "something"


def test_a_model_that_is_steered_or_wrapped_is_refused(build, dials, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    lm = build("llama")
    dial = dials["low rank"]
    with lm.steer(dial, 1.0), pytest.raises(UsageError, match="a dial is on the model"):
        FORMATS["lora"](dial, lm, tmp_path / "out")
    wrapped = get_peft_model(copy.deepcopy(lm.model), LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(UsageError, match="not a PeftModel around one"):
        FORMATS["lora"](replace(dial, architecture_id=None), LM(wrapped, lm.tokenizer), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_dial_for_another_model_is_refused(build, dials, vector_dial, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whose shapes or tokenizer"):
        FORMATS["lora"](dials["low rank"], build("qwen2"), tmp_path / "out")
    unbound = replace(dials["low rank"], architecture_id=None, weights_id=None, _lm=None)
    with pytest.raises(UsageError, match="which is no Linear of"):
        FORMATS["merged"](unbound, build("gpt2"), tmp_path / "out")
    beyond = vector_dial(build("llama"), 7)
    for to in ("gguf", "bias"):
        with pytest.raises(UsageError, match="edits block 7"):
            FORMATS[to](beyond, build("llama"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
