"""The run folder: opening, resuming, the diary, cells, readings, one writer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from gnomon.errors import Failure, UsageError
from gnomon.runs import Reading, Run, list_runs
from gnomon.runs import config as configs

CONFIG = {"model": "touchstone:honesty", "toward": "honest", "away": "dishonest", "bench": {"seeds": 3}}

CHILD = "import sys; from gnomon.runs import Run; run = Run.resume_or_create({!r}, {!r}); "


def child(folder: Path, code: str) -> subprocess.Popen[str]:
    source = CHILD.format(CONFIG, str(folder)) + code
    return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)


# Config


def test_config_json_records_versions_platform_and_time(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    document = json.loads((run.folder / "config.json").read_text())
    assert document["config"] == CONFIG
    assert set(document["versions"]) >= {"python", "gnomon", "torch", "transformers"}
    assert document["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert document["platform"]
    assert document["created"].endswith("+00:00")


def test_a_token_is_never_written(tmp_path: Path) -> None:
    run = Run.create({**CONFIG, "token": "hf_secret", "load": {"token": "hf_secret"}}, tmp_path)
    assert all(b"hf_secret" not in path.read_bytes() for path in run.folder.rglob("*") if path.is_file())


def test_the_fingerprint_ignores_order_and_cosmetics_only() -> None:
    assert configs.fingerprint({"a": 1, "b": 2}) == configs.fingerprint({"b": 2, "name": "x", "a": 1})
    assert configs.fingerprint({"a": 1}) != configs.fingerprint({"a": 2})
    assert configs.fingerprint({"inner": {"name": "x"}}) != configs.fingerprint({"inner": {"name": "y"}})


# Opening


def test_names_are_readable_and_differ(tmp_path: Path) -> None:
    names = {Run.create(CONFIG, tmp_path).name for _ in range(5)}
    assert len(names) == 5
    assert all(len(name) == len("20260730-141233-abcdef") for name in names)


def test_a_taken_name_is_refused_and_what_is_there_stays(tmp_path: Path) -> None:
    with Run.create(CONFIG, tmp_path, name="first") as run:
        run.save_cell("a", {"x": 1})
    with pytest.raises(UsageError, match="exists already"):
        Run.create({}, tmp_path, name="first")
    assert Run.open("first", tmp_path).load_cell("a") == {"x": 1}


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_a_name_must_be_a_folder_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        Run.create(CONFIG, tmp_path, name=name)


def test_open_by_path_name_and_unique_beginning(tmp_path: Path) -> None:
    for name in ("alpha", "alphabet", "beta"):
        Run.create(CONFIG, tmp_path, name=name).close()
    assert Run.open(tmp_path / "beta").name == "beta"
    assert Run.open("b", tmp_path).name == "beta"
    assert Run.open("alpha", tmp_path).name == "alpha"
    with pytest.raises(UsageError, match=r"2 runs begin with 'al' \(alpha, alphabet\)"):
        Run.open("al", tmp_path)
    with pytest.raises(UsageError, match="no run 'gamma'"):
        Run.open("gamma", tmp_path)
    with pytest.raises(UsageError, match="no run folder"):
        Run.open(tmp_path)


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    run.close()
    for content in ('{"config": ', "[]"):
        (run.folder / "config.json").write_text(content)
        with pytest.raises(Failure, match=r"config\.json is"):
            Run.open(run.folder)


def test_list_runs_is_in_order_of_time_and_skips_other_folders(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "absent") == []
    for name, created in (("b", "2026-01-01"), ("a", "2026-01-02")):
        run = Run.create(CONFIG, tmp_path, name=name)
        path = run.folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "created": created}))
    (tmp_path / "other").mkdir()
    assert [run.name for run in list_runs(tmp_path)] == ["b", "a"]


# Resuming


def test_the_same_config_resumes_and_a_cosmetic_change_too(tmp_path: Path) -> None:
    with Run.resume_or_create(CONFIG, tmp_path / "one") as run:
        run.save_cell("a", {"x": 1})
    with Run.resume_or_create({**CONFIG, "quiet": True}, tmp_path / "one") as run:
        assert run.load_cell("a") == {"x": 1}
    kinds = [event["kind"] for event in run.events]
    assert kinds == ["started", "finished", "resumed", "finished"]


def test_another_config_is_refused_and_the_differing_keys_are_named(tmp_path: Path) -> None:
    Run.resume_or_create(CONFIG, tmp_path / "one").close()
    with pytest.raises(
        UsageError, match=r"\(bench\.seeds: 3 there, 5 here; dtype: null there, \"bf16\" here\)"
    ):
        Run.resume_or_create({**CONFIG, "bench": {"seeds": 5}, "dtype": "bf16"}, tmp_path / "one")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds files but no run"):
        Run.resume_or_create(CONFIG, tmp_path)


def test_a_run_killed_before_its_config_was_written_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / ".config.json.99.tmp").write_text('{"conf')
    with Run.resume_or_create(CONFIG, folder) as run:
        assert run.config == CONFIG
    assert not list(folder.glob("*.tmp"))
    assert not list(folder.glob(".*.tmp"))


def test_other_versions_are_noted_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run.resume_or_create(CONFIG, tmp_path / "one").close()
    monkeypatch.setattr(configs, "versions", lambda: {"python": "4.0"})
    with Run.resume_or_create(CONFIG, tmp_path / "one") as run:
        pass
    assert run.events[-2]["versions"] == {"python": "4.0"}
    assert "versions" not in run.events[0]


# The diary


def test_events_keep_their_fields_in_order(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    run.event("batch_halved", size=16, text="zwölf\nnew line")
    assert run.events[-1]["size"] == 16
    assert run.events[-1]["text"] == "zwölf\nnew line"


@pytest.mark.parametrize(
    "torn", [b'{"time": "2026', b'{"kind": "x"}', '{"kind": "zw\u00f6'.encode()[:-1], b"\0\0\0"]
)
def test_a_torn_last_line_is_skipped_and_the_next_event_is_whole(tmp_path: Path, torn: bytes) -> None:
    run = Run.create(CONFIG, tmp_path)
    run.close()
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(torn)
    assert [event["kind"] for event in run.events] == ["started"]
    run.event("after")
    assert [event["kind"] for event in run.events] == ["started", "resumed", "after"]


def test_a_damaged_line_in_the_middle_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b"garbage\n42\n")
    run.event("after")
    assert run.events[1:3] == [{"kind": "damaged", "line": 2}, {"kind": "damaged", "line": 3}]
    assert run.events[3]["kind"] == "after"


# Status


def test_status_follows_the_events(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    assert run.status == Run.open(run.folder).status == "running"
    run.close()
    assert run.status == "killed"
    run.finish()
    assert run.status == "finished"
    with pytest.raises(ValueError, match="no"), Run.resume_or_create(CONFIG, run.folder) as run:
        raise ValueError("no")
    assert run.status == "failed"
    assert run.events[-1]["error"] == "ValueError: no"


def test_reading_a_run_writes_nothing(tmp_path: Path) -> None:
    with Run.create(CONFIG, tmp_path) as run:
        run.save_cell("a", {"x": 1})
    before = (run.folder / "events.jsonl").read_bytes()
    with Run.open(run.folder) as reader:
        assert reader.has("a")
        assert reader.status == "finished"
        assert reader.readings == []
        assert "finished" in repr(reader)
    assert (run.folder / "events.jsonl").read_bytes() == before


# One writer


def test_a_second_process_is_refused_with_the_pid_and_takes_over_after_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    writer = child(folder, "print('ready', flush=True); sys.stdin.read(); import time; time.sleep(60)")
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    try:
        assert Run.open(folder).status == "running"
        with pytest.raises(UsageError, match=f"written by process {writer.pid} "):
            Run.resume_or_create(CONFIG, folder)
        with pytest.raises(UsageError, match=f"written by process {writer.pid} "):
            Run.open(folder).event("x")
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert Run.open(folder).status == "killed"
    with Run.resume_or_create(CONFIG, folder) as run:
        assert run.events[-1]["pid"] == os.getpid()
    assert run.status == "finished"


def test_two_runs_on_one_folder_in_one_process_are_refused_too(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    with pytest.raises(UsageError, match=f"written by process {os.getpid()} "):
        Run.resume_or_create(CONFIG, run.folder)


# Cells


def test_cells_come_back_and_keys_may_be_any_text(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    keys = ["shift/seed=0/alpha=+1", "shift/seed=0/alpha=-1", "a b", "a_b", "ключ", "x" * 500, "../../up", ""]
    for number, key in enumerate(keys):
        assert not run.has(key)
        run.save_cell(key, {"number": number})
    assert [run.load_cell(key)["number"] for key in keys] == list(range(len(keys)))
    assert {path.parent for path in map(run.cell, keys) if path} == {run.folder / "cells"}


def test_a_table_comes_back_with_its_types_and_index(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, float("nan")], "c": ["x", None]}, index=[7, 9])
    run.save_cell("t", frame)
    pd.testing.assert_frame_equal(run.load_cell("t"), frame)


def test_a_table_that_parquet_cannot_hold_is_refused(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    with pytest.raises(UsageError, match="column name 0"):
        run.save_cell("t", pd.DataFrame([[1, 2]]))
    with pytest.raises(UsageError, match="cannot be stored as parquet"):
        run.save_cell("t", pd.DataFrame({"a": [1, "x", {}]}))
    assert not run.has("t")


def test_once_computes_once_and_a_first_run_sees_what_a_resumed_one_sees(tmp_path: Path) -> None:
    run = Run.create(CONFIG, tmp_path)
    calls = []

    def work() -> dict[str, object]:
        calls.append(1)
        return {"pair": (1, 2)}

    assert run.once("a", work) == run.once("a", work) == {"pair": [1, 2]}
    assert len(calls) == 1


@pytest.mark.parametrize("part", ["payload", "payload gone", "record", "record of another"])
def test_a_damaged_cell_is_not_finished_and_is_computed_again(tmp_path: Path, part: str) -> None:
    run = Run.create(CONFIG, tmp_path)
    path = run.save_cell("a", {"x": 1})
    other = run.save_cell("b", {"x": 2})
    record = path.with_suffix(".record")
    if part == "payload":
        path.write_text('{"x": 7}')
    elif part == "payload gone":
        path.unlink()
    elif part == "record":
        record.write_bytes(record.read_bytes()[:-9])
    else:
        record.write_bytes(other.with_suffix(".record").read_bytes())
    assert run.cell("a") is None
    assert not run.has("a")
    assert run.events[-1]["kind"] == "cell_damaged"
    assert run.events[-1]["key"] == "a"
    with pytest.raises(UsageError, match="no finished cell 'a'"):
        run.load_cell("a")
    assert run.once("a", lambda: {"x": 1}) == {"x": 1}
    assert run.load_cell("b") == {"x": 2}


# Readings


def test_readings_stay_in_order_and_one_name_is_one_reading(tmp_path: Path) -> None:
    with Run.create(CONFIG, tmp_path) as run:
        for name in ("zeta", "alpha", "zeta"):
            run.add(Reading(name=name, title=name.title(), sentence=f"{len(run.readings)} before"))
    assert [(one.name, one.sentence) for one in Run.open(run.folder).readings] == [
        ("zeta", "2 before"),
        ("alpha", "1 before"),
    ]
