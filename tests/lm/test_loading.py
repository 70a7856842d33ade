"""Opening models: what is chosen and recorded, and one clear sentence for every fault."""

import json
import shutil
from pathlib import Path

import httpx2 as http
import pytest
import torch

from gnomon.errors import Failure, UsageError
from gnomon.lm import LM, loading


@pytest.fixture(scope="module")
def saved(tmp_path_factory, helpers) -> Path:
    folder = tmp_path_factory.mktemp("model")
    helpers.build_model("llama").half().save_pretrained(folder)
    helpers.build_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_folder_opens_as_float32_on_a_cpu_and_says_why(saved: Path) -> None:
    lm = LM.load(saved, device="cpu", chat_template_kwargs={"enable_thinking": False}, token="secret")
    assert lm.dtype == torch.float32
    assert lm.device.type == "cpu"
    assert not lm.model.training
    assert lm.touchstone is None
    assert lm.name == str(saved)
    assert lm.settings["dtype"] == "auto"
    assert lm.settings["dtype_chosen"] == "float32"
    assert "slower on a CPU" in lm.settings["dtype_reason"]
    assert lm.settings["chat_template_kwargs"] == {"enable_thinking": False}
    assert "secret" not in json.dumps(lm.settings)
    assert isinstance(lm.generate("the cat", max_new_tokens=3), str)


@pytest.mark.parametrize("dtype", ["float16", torch.float16])
def test_a_dtype_that_is_asked_for_is_used(saved: Path, dtype) -> None:
    lm = LM.load(saved, dtype=dtype, attn_implementation="eager")
    assert lm.dtype == torch.float16
    assert lm.settings["dtype"] == "float16"
    assert lm.model.config._attn_implementation == lm.settings["attn_implementation"] == "eager"


def test_a_touchstone_opens_by_its_name(saved: Path, monkeypatch) -> None:
    from gnomon import touchstones

    monkeypatch.setattr(touchstones, "folder", lambda name: {"tiny": saved}[name])
    assert LM.load("touchstone:tiny").touchstone == "tiny"


@pytest.mark.parametrize(
    ("lost", "message"), [("config.json", "no config.json"), ("model.safetensors", "no safetensors weights")]
)
def test_a_folder_without_a_part(copied: Path, lost: str, message: str) -> None:
    (copied / lost).unlink()
    with pytest.raises(UsageError, match=message) as error:
        LM.load(copied)
    assert str(copied) in sentence(error)


def test_a_folder_without_a_shard(copied: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"has no model-2\.safetensors"):
        LM.load(copied)


def test_a_folder_without_a_tokenizer(copied: Path) -> None:
    for file in copied.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UsageError, match="no tokenizer") as error:
        LM.load(copied)
    sentence(error)


def test_damaged_weights(copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(Failure, match="damaged") as error:
        LM.load(copied)
    sentence(error)


def test_weights_that_lack_parameters_are_not_filled_with_noise(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lack 1 of .* first model\.layers\.1\.mlp\.down_proj") as error:
        LM.load(copied)
    sentence(error)


@pytest.mark.parametrize("kind", ["t5", "no_such_type"])
def test_a_model_of_another_kind(copied: Path, kind: str) -> None:
    (copied / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(UsageError, match=r"cannot be opened|tokenizer") as error:
        LM.load(copied)
    sentence(error)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:0"}, "torch finds none"),
        ({"device": "toaster"}, "no device 'toaster'"),
        ({"dtype": "float7"}, "no dtype 'float7'"),
        ({"device": "cpu", "device_map": "auto"}, "only one of them"),
        ({"blocks": "model.nowhere"}, "no module 'model.nowhere'"),
        ({"blocks": "model.norm"}, "not a list of blocks"),
    ],
)
def test_impossible_settings(saved: Path, settings, message: str) -> None:
    if settings.get("device") == "cuda:0" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UsageError, match=message) as error:
        LM.load(saved, **settings)
    sentence(error)


@pytest.mark.parametrize(
    ("settings", "package", "extra"),
    [
        ({"adapter": "some/adapter"}, "peft", "adapters"),
        ({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes", "quantized"),
        ({"device_map": "auto"}, "accelerate", "large"),
    ],
)
def test_missing_extras_name_what_to_install(
    saved: Path, monkeypatch, settings, package: str, extra: str
) -> None:
    monkeypatch.setattr(
        loading.importlib.util, "find_spec", lambda name: None if name == package else object()
    )
    with pytest.raises(UsageError, match=rf"pip install 'gnomon\[{extra}\]'") as error:
        LM.load(saved, **settings)
    assert package in sentence(error)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "not an id"])
def test_names_that_are_neither_folder_nor_id(name: str) -> None:
    with pytest.raises(UsageError, match=r"no model folder|neither a folder nor a possible Hub id") as error:
        LM.load(name)
    sentence(error)


def test_an_unknown_id_while_offline() -> None:
    with pytest.raises(UsageError, match="not in the local cache, and HF_HUB_OFFLINE"):
        LM.load("nobody/no-such-model")


@pytest.mark.parametrize("lost", [None, "tokenizer*", "model.safetensors"])
def test_the_cache_is_looked_at_before_the_network(
    saved: Path, tmp_path: Path, monkeypatch, lost: str | None
) -> None:
    import huggingface_hub.constants
    from huggingface_hub import HfApi

    repository = tmp_path / "models--somebody--model"
    snapshot = Path(shutil.copytree(saved, repository / "snapshots" / "abc"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for file in snapshot.glob(lost or "nothing"):
        file.unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def model_info(self, name, **settings):
        raise http.ConnectError("asked")

    monkeypatch.setattr(HfApi, "model_info", model_info)
    if lost is None:
        assert LM.load("somebody/model").name == "somebody/model"
    else:
        with pytest.raises(Failure, match="not in the local cache"):
            LM.load("somebody/model")


def answering(status: int, code: str | None = None):
    from huggingface_hub import errors

    request = http.Request("GET", "https://huggingface.co/api/models/nobody/model")
    response = http.Response(status, request=request, headers={"X-Error-Code": code} if code else {})
    kind = {"RepoNotFound": errors.RepositoryNotFoundError, "GatedRepo": errors.GatedRepoError}
    return {**kind, "RevisionNotFound": errors.RevisionNotFoundError}.get(code, errors.HfHubHTTPError)(
        "many\nlines", response=response
    )


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (answering(404, "RepoNotFound"), UsageError, "no folder and no Hub model nobody/model"),
        (answering(403, "GatedRepo"), UsageError, "is gated"),
        (answering(404, "RevisionNotFound"), UsageError, "no revision 'v9'"),
        (answering(500), Failure, "could not be reached"),
        (http.ConnectError("no route"), Failure, "could not be reached"),
        (http.ReadTimeout("slow"), Failure, "could not be reached"),
    ],
)
def test_what_the_hub_says(monkeypatch, raised, kind, message: str) -> None:
    from huggingface_hub import HfApi

    asked = []

    def model_info(self, name, **settings):
        asked.append(settings["timeout"])
        raise raised

    monkeypatch.setattr(HfApi, "model_info", model_info)
    with pytest.raises(kind, match=message) as error:
        LM.load("nobody/model", revision="v9")
    sentence(error)
    assert asked == [10.0]  # once, and not for long


def test_transformers_stays_as_loud_as_it_was(saved: Path, capfd) -> None:
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    LM.load(saved)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)
    assert capfd.readouterr() == ("", "")
