"""A folder is whole or absent: whatever stops the export, and when."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gnomon.dials.exports import to_lora
from gnomon.dials.exports.folders import whole
from gnomon.errors import Failure


def test_a_finished_folder(tmp_path: Path) -> None:
    with whole(tmp_path / "deep" / "out") as place:
        (place / "inner").mkdir()
        (place / "inner" / "file").write_text("done")
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out" / "inner" / "file").read_text() == "done"


def test_an_empty_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    with whole("out") as place:
        (place / "file").write_text("done")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Failure])
def test_what_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def stopped() -> None:
        with whole(tmp_path / "out") as place:
            (place / "file").write_text("half")
            raise error("stopped")

    with pytest.raises(error):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="The disk is full"), whole(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_filled_in_the_meantime_is_left_alone(tmp_path: Path) -> None:
    def overtaken() -> None:
        with whole(tmp_path / "out") as place:
            (place / "file").write_text("ours")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "file").write_text("theirs")

    with pytest.raises(Failure, match="cannot be used"):
        overtaken()
    assert (tmp_path / "out" / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_export_leaves_no_folder_that_looks_finished(build, low_rank_dial, tmp_path: Path) -> None:
    """Killed behind the second of two adapters; the next export into the same folder is whole."""
    lm = build("llama")
    dial = low_rank_dial(lm)
    dial.save(tmp_path / "dial")
    lm.tokenizer.save_pretrained(lm.name)
    program = textwrap.dedent("""
        import os, signal, sys
        from gnomon.dials import Dial
        from gnomon.dials.exports import lora, to_lora
        from gnomon.lm import LM

        def then_die(folder, *rest):
            write(folder, *rest)
            if folder.name == "alpha-1":
                os.kill(os.getpid(), signal.SIGKILL)

        write, lora.write_adapter = lora.write_adapter, then_die
        to_lora(Dial.load("dial"), LM.load(sys.argv[1]), "new/out")
    """)
    done = subprocess.run([sys.executable, "-c", program, lm.name], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "new").iterdir()
    assert left.name.startswith("out.partial-")
    assert len(list(left.rglob("adapter_model.safetensors"))) == 2
    to_lora(dial, lm, tmp_path / "new" / "out")
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == ["alpha+1", "alpha-1"]
