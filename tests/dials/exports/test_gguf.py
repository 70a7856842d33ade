"""Control vector files, read by the gguf package and applied as llama.cpp applies them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gnomon.dials import AddVector, Dial
from gnomon.dials.exports import gguf as format_gguf
from gnomon.dials.exports import to_gguf
from gnomon.errors import Failure, UsageError
from gnomon.lm import LM


def read(path: Path) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    from gguf import GGUFReader

    reader = GGUFReader(path)
    return (
        {name: field.contents() for name, field in reader.fields.items()},
        {tensor.name: tensor.data for tensor in reader.tensors},
    )


@torch.no_grad()
def as_llama_cpp(model, lm: LM, directions: dict[str, np.ndarray], helpers) -> torch.Tensor:
    """direction.N is added to the output of layer N, counted from 0, at every position; there is no direction.0."""
    assert "direction.0" not in directions
    layers = model.get_decoder().layers if hasattr(model.get_decoder(), "layers") else model.get_decoder().h
    handles = []
    for name, values in directions.items():
        constant = torch.from_numpy(np.array(values))

        def hook(module, args, output, constant=constant):
            return (output[0] + constant, *output[1:]) if isinstance(output, tuple) else output + constant

        handles.append(layers[int(name.split(".")[1])].register_forward_hook(hook))
    try:
        return helpers.logits(model, lm)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_the_file_is_the_dial(
    build, plain, vector_dial, helpers, untouched, tmp_path: Path, family: str
) -> None:
    lm = build(family)
    last = lm.n_blocks - 1
    dial = vector_dial(lm, 1, last)
    check = untouched(lm)
    exports = to_gguf(dial, lm, tmp_path / "out", (1.0, -0.5))
    check()
    assert [export.path.name for export in exports] == ["alpha+1.gguf", "alpha-0.5.gguf"]
    for export in exports:
        fields, tensors = read(export.path)
        assert fields["general.architecture"] == "controlvector"
        assert fields["controlvector.model_hint"] == lm.model.config.model_type
        assert fields["controlvector.layer_count"] == 2
        assert list(tensors) == ["direction.1", f"direction.{last}"]
        for edit in dial.edits:
            values = tensors[f"direction.{edit.block}"]
            assert values.shape == (lm.d_model,)
            assert values.dtype == np.float32
            assert np.array_equal(values, (export.alpha * edit.vector).numpy())
        found = as_llama_cpp(plain(lm.name), lm, tensors, helpers)
        expected = helpers.steered(lm, dial, export.alpha)
        assert (expected - helpers.logits(lm.model, lm)).abs().max() > 0.01
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert export.difference is not None
        assert export.difference.relative < 1e-5


def test_vectors_of_one_block_are_summed(build, tmp_path: Path) -> None:
    """A GGUF file has no two tensors of one name."""
    lm = build("llama")
    one, other = torch.randn(lm.d_model), torch.randn(lm.d_model)
    dial = Dial((AddVector(2, one), AddVector(2, other)), first_token=True).bound(lm)
    (export,) = to_gguf(dial, lm, tmp_path / "out", [2.0])
    _, tensors = read(export.path)
    assert list(tensors) == ["direction.2"]
    assert np.allclose(tensors["direction.2"], 2 * (one + other).numpy(), atol=1e-6)


def test_block_0_has_no_direction(build, vector_dial, tmp_path: Path) -> None:
    lm = build("llama")
    with pytest.raises(UsageError, match="edits block 0 and a control vector has no direction"):
        to_gguf(vector_dial(lm, 0, 1), lm, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_the_dial_is_not_kept(
    build, vector_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = build("llama")
    monkeypatch.setattr(
        format_gguf, "vectors_at", lambda dial, alpha: {edit.block + 1: edit.vector for edit in dial.edits}
    )
    with pytest.raises(Failure, match="is not the dial and was not kept"):
        to_gguf(vector_dial(lm, 1), lm, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_gguf_the_extra_is_named(
    build, vector_dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gguf" else object())
    lm = build("llama")
    with pytest.raises(UsageError, match=r"needs the package gguf: .*pip install 'gnomon\[export\]'"):
        to_gguf(vector_dial(lm), lm, tmp_path / "out")
