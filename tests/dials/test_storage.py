"""Dials on disk: what is read is what was written; every damage is one sentence."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnomon.dials import AddVector, Dial, FreeCore, LowRank, Prefix, RotationCore, Scale
from gnomon.errors import Failure, UsageError


def a_dial() -> Dial:
    draw = torch.Generator().manual_seed(0)
    square = torch.randn(2, 2, generator=draw)
    bases = {"U": torch.eye(4)[:, :2], "V": torch.eye(6)[:, :2]}
    return Dial(
        (
            AddVector(1, torch.randn(8, generator=draw)),
            LowRank("blocks.0.o_proj", core=FreeCore(square), **bases),
            LowRank(
                "blocks.1.o_proj",
                core=RotationCore(torch.ones(2), square[0], square - square.mT, 0.5),
                **bases,
            ),
            Prefix("be kind", "be cruel"),
        ),
        name="kindness",
        words=("kind", "cruel"),
        first_token=True,
        scale=Scale("kl", 1.5, False, 0.2, 0.25),
        base_model="somebody/model",
        architecture_id="a" * 64,
        weights_id="w" * 64,
        notes={"block": 1, "score": float("nan")},
    )


def test_a_dial_read_back_is_the_dial_that_was_saved(tmp_path: Path) -> None:
    dial = a_dial()
    again = Dial.load(dial.save(tmp_path / "kindness.dial"))
    for field in ("name", "words", "first_token", "scale", "base_model", "architecture_id", "weights_id"):
        assert getattr(again, field) == getattr(dial, field)
    assert again.notes == {"block": 1, "score": None}
    assert torch.equal(again.edits[0].vector, dial.edits[0].vector)
    for mine, theirs in zip(again.edits[1:3], dial.edits[1:3], strict=True):
        assert mine.module == theirs.module
        assert torch.equal(mine.core.matrix(0.7), theirs.core.matrix(0.7))
        assert torch.equal(mine.U, theirs.U)
        assert torch.equal(mine.V, theirs.V)
    assert again.edits[3] == dial.edits[3]


def test_the_model_card_names_model_words_and_scale(tmp_path: Path) -> None:
    card = (a_dial().save(tmp_path) / "README.md").read_text()
    for part in ("base_model: somebody/model", "*kind*", "*cruel*", "kl, 1.5 x native (not reached)"):
        assert part in card


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["dial.json", "dial.safetensors"]), cut=st.booleans())
def test_a_truncated_or_bit_flipped_dial_is_one_sentence(tmp_path: Path, data, name: str, cut: bool) -> None:
    folder = a_dial().save(tmp_path / "d")
    content = bytearray((folder / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 2))
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(content)
    said = None
    try:
        again = Dial.load(folder)
    except UsageError as error:
        said = str(error)
    if said is None:
        # A flipped bit in the json's white space changes nothing that is said, and may be read.
        assert name == "dial.json"
        assert again.name == "kindness"
    else:
        assert str(folder) in said
        assert "\n" not in said


def test_missing_foreign_and_newer_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no dial"):
        Dial.load(tmp_path)
    folder = a_dial().save(tmp_path / "d")
    description = json.loads((folder / "dial.json").read_text())
    (folder / "dial.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(UsageError, match="format version 99"):
        Dial.load(folder)
    (folder / "dial.json").write_text("[]")
    with pytest.raises(UsageError, match="damaged"):
        Dial.load(folder)
    (folder / "dial.safetensors").unlink()
    with pytest.raises(UsageError, match="damaged"):
        Dial.load(folder)


def test_a_disk_that_refuses_is_a_failure_and_leaves_no_pieces(tmp_path: Path, monkeypatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Failure, match="No space left on device"):
        a_dial().save(tmp_path / "d")
    assert list((tmp_path / "d").iterdir()) == []


def test_from_pretrained_reads_a_folder_and_refuses_what_is_nowhere(tmp_path: Path) -> None:
    a_dial().save(tmp_path / "d")
    assert Dial.from_pretrained(str(tmp_path / "d")).name == "kindness"
    with pytest.raises(UsageError, match="could not be read from the hub"):
        Dial.from_pretrained("nobody/no-such-dial")
