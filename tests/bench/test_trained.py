"""A method that trains, in the bench: a table at the end, and a training that goes on after kill -9."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gnomon.bench import Settings
from gnomon.bench.running import bench, steer
from gnomon.dials import Dial, LowRank
from gnomon.runs import Run

pytestmark = pytest.mark.filterwarnings("ignore:the 24 suffixes are alike")
STEPS = 140
QUICK = {"rank": 8, "continued": 0, "steps": STEPS, "sides": "both"}


@pytest.fixture(scope="module")
def settings(bench_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        **bench_files,
        methods=("shift",),
        method_settings={"shift": QUICK},
        strengths=("native",),
        sweep=(0.1,),
        neutral_samples=8,
        bootstrap=200,
        max_new_tokens=4,
        root=str(tmp_path_factory.mktemp("runs")),
    )


@pytest.fixture(scope="module")
def whole(settings: Settings) -> Run:
    """The run that nobody interrupts."""
    return steer(settings.model_copy(update={"name": "whole"}))


def table(run: Run) -> pd.DataFrame:
    return next(reading.table for reading in run.readings if reading.name == "steering_f1")


def bench_until(settings: Settings, last: int, mark: Path) -> None:
    """Run the bench, and stand still after so many steps of training: someone else ends this process."""

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        done = 0

        def advance(steps: int = 1, said: str = "", /) -> None:
            nonlocal done
            done += steps
            if stage == "training shift" and done >= last:
                mark.touch()
                time.sleep(600)

        yield advance

    bench(settings, progress=progress)


def test_a_trained_method_ends_in_a_table_and_a_dial(whole: Run) -> None:
    rows = table(whole).set_index("method")
    assert list(rows.index) == ["none", "yes-bias (control)", "shift"]
    assert rows.loc["shift"].kl > 0
    assert rows.loc["shift"].factor == 1
    dial = Dial.load(whole.folder / "dial")
    assert all(isinstance(edit, LowRank) for edit in dial.edits)
    assert dial.notes["method"] == "shift"
    (folder,) = (whole.folder / "training").iterdir()
    assert {path.name for path in folder.iterdir()} == {"checkpoint.safetensors", "events.jsonl"}


def test_a_run_killed_in_training_goes_on_from_the_checkpoint(
    settings: Settings, whole: Run, tmp_path: Path
) -> None:
    killed = settings.model_copy(update={"name": "killed"})
    mark = tmp_path / "mark"
    child = multiprocessing.get_context("fork").Process(target=bench_until, args=(killed, 120, mark))
    child.start()
    deadline = time.monotonic() + 120
    while not mark.exists():
        assert child.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    begun: list[int] = []

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        yield lambda steps=1, said="": begun.append(steps) if stage == "training shift" else None

    run = bench(killed, progress=progress)
    assert begun[0] == 100
    assert sum(begun) == STEPS
    assert run.status == "finished"
    pd.testing.assert_frame_equal(table(run), table(whole))
    (events,) = (run.folder / "training").glob("*/events.jsonl")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(10, STEPS + 1, 10))
