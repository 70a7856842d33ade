"""Bytes on disk: whole or not at all, JSON as it went in, one sentence when the disk refuses."""

import errno
import math
import os
from pathlib import Path

import numpy as np
import pytest

from gnomon.errors import Failure, UsageError
from gnomon.runs import storage


def test_a_lone_surrogate_survives() -> None:
    assert storage.from_json(storage.to_json({"text": "a\ud800b"}), Path("x")) == {"text": "a\ud800b"}


def test_nan_survives_so_that_a_resumed_run_sees_what_the_first_saw() -> None:
    back = storage.from_json(storage.to_json({"f1": math.nan, "kl": math.inf}), Path("x"))
    assert math.isnan(back["f1"])
    assert back["kl"] == math.inf


def test_numpy_tuples_and_paths_become_plain() -> None:
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": (1, np.int64(2)), "d": Path("x/y"), "e": np.True_}
    assert storage.plain(value) == {"a": 0.5, "b": [0, 1, 2], "c": [1, 2], "d": "x/y", "e": True}


def test_a_key_that_is_not_text_is_refused_because_it_would_come_back_as_text() -> None:
    with pytest.raises(UsageError, match=r"scores\['seed'\] has the key 1"):
        storage.plain({"seed": {1: "a"}}, "scores")


def test_a_value_without_json_form_is_named() -> None:
    with pytest.raises(UsageError, match=r"config\['model'\]\[1\] is a object"):
        storage.plain({"model": [1, object()]}, "config")


def test_strict_json_has_none_for_missing() -> None:
    assert storage.without_missing({"a": [1.0, math.nan, -math.inf], "b": "nan"}) == {
        "a": [1.0, None, None],
        "b": "nan",
    }


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cell.json"
    storage.write(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failure, match=r"disk is full .* free some space and run the same command again"):
        storage.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["cell.json"]


def test_a_failed_append_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    storage.append(path, b"one")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Failure, match="disk is full"):
            storage.append(path, b"two")
    storage.append(path, b"three")
    assert path.read_bytes() == b"one\nthree\n"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_read_only_folder_says_what_to_do(code: int) -> None:
    with (
        pytest.raises(Failure, match=r"cannot be written .* choose another folder"),
        storage.disk(Path("runs")),
    ):
        raise OSError(code, os.strerror(code))


def test_another_disk_error_names_path_and_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match=r"file/inner.* cannot be used \(file exists\)"):
        storage.write(tmp_path / "file" / "inner", b"")
