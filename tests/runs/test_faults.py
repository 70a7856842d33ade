"""What a run survives: kill -9 at any moment, a full disk, a folder that refuses."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest

from gnomon.errors import Failure
from gnomon.runs import Reading, Run

CONFIG = {"model": "touchstone:honesty", "seeds": 3}
N_CELLS = 24

# The work of one run, the same in the child that is killed and in the process that resumes.
WORK = f"""
import sys
import pandas as pd
from gnomon.runs import Reading, Run

def cell(number):
    if number % 2:
        return {{"number": number, "text": "x" * 50_000}}
    return pd.DataFrame({{"number": [number] * 20_000}})

def work(folder):
    with Run.resume_or_create({CONFIG!r}, folder) as run:
        for number in range({N_CELLS}):
            run.once(f"cell/{{number}}", lambda: cell(number))
            run.event("cell", number=number)
            run.add(Reading(name="total", title="Total", sentence=str(number), table=cell(0)))
"""


def contents(folder: Path) -> list[object]:
    run = Run.open(folder)
    cells = [run.load_cell(f"cell/{number}") for number in range(N_CELLS)]
    tables = [cell["number"].tolist() if isinstance(cell, pd.DataFrame) else cell for cell in cells]
    return [tables, [(reading.name, reading.sentence) for reading in run.readings]]


def test_kill_9_at_any_moment_leaves_a_run_that_resumes_with_identical_content(tmp_path: Path) -> None:
    code = f"{WORK}\nprint('ready', flush=True)\nwork(sys.argv[1])"
    namespace: dict[str, object] = {}
    exec(WORK, namespace)
    work = namespace["work"]
    assert callable(work)
    work(tmp_path / "whole")
    moments = random.Random(0)
    folder = tmp_path / "killed"
    kills = 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.5))
        kills += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if (folder / "config.json").exists():  # whatever is there is readable at once
            assert Run.open(folder).status in ("killed", "finished")
            assert all(event["kind"] != "damaged" for event in Run.open(folder).events)
    assert kills > 0
    work(folder)
    assert contents(folder) == contents(tmp_path / "whole")
    assert Run.open(folder).status == "finished"
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("call", ["open", "replace", "fsync"])
def test_every_interrupted_step_of_a_cell_leaves_it_unfinished_or_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Die (by an exception that nothing catches) at the first, second, ... such step of `save_cell`."""

    class Killed(BaseException):
        pass

    for moment in range(1, 6):
        folder = tmp_path / f"{moment}"
        run = Run.resume_or_create(CONFIG, folder)
        run.save_cell("before", {"x": 0})
        owner = os if call == "fsync" else Path
        original, calls = getattr(owner, call), []

        def dying(*arguments: object, original=original, calls=calls, moment=moment) -> object:
            calls.append(1)
            if len(calls) == moment:
                raise Killed
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, call, dying)
            with contextlib.suppress(Killed):
                run.save_cell("a", {"x": 1})
        run.close()
        again = Run.resume_or_create(CONFIG, folder)
        assert again.load_cell("before") == {"x": 0}
        assert again.once("a", lambda: {"x": 1}) == {"x": 1}
        assert not list(folder.rglob(".*.tmp"))
        again.close()


def test_the_first_error_is_told_when_the_diary_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(CONFIG, tmp_path)
    run.save_cell("a", {"x": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Failure, match=r"disk is full at .*cells"), run:
            run.save_cell("b", {"x": 2})
    assert run.status == "killed"
    with Run.resume_or_create(CONFIG, run.folder) as again:
        assert again.load_cell("a") == {"x": 1}
        assert not again.has("b")


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="there is no /proc, which refuses writes to everyone"
)
def test_a_root_that_refuses_gives_one_sentence() -> None:
    with pytest.raises(Failure, match=r"/proc/runs.*: check the path and the disk, then try again\.$"):
        Run.create(CONFIG, "/proc/runs")


def in_small_disk(code: str, folder: Path) -> str:
    """Run code in a private mount namespace with a 1 MiB disk at `folder`, and return what it prints."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed, so no small disk can be mounted")
    folder.mkdir()
    mount = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size=1M none {folder}"]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a small disk in a namespace of its own")
    script = f'mount -t tmpfs -o size=1M none {folder} && exec "$0" -c "$1" {folder}'
    command = ["unshare", "-m", "sh", "-c", script, sys.executable, textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_that_fills_up_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    printed = in_small_disk(
        """
        import sys
        from pathlib import Path
        from gnomon.errors import Failure
        from gnomon.runs import Run
        folder = Path(sys.argv[1]) / "run"
        ballast = Path(sys.argv[1]) / "ballast"
        ballast.write_bytes(b"x" * 500_000)
        cells = {f"cell/{n}": {"text": str(n) * 90_000} for n in range(8)}
        try:
            with Run.resume_or_create({"a": 1}, folder) as run:
                for key, content in cells.items():
                    run.save_cell(key, content)
        except Failure as error:
            print(error)
        finished = [key for key in cells if Run.open(folder).cell(key)]
        print(0 < len(finished) < len(cells))
        print(all(Run.open(folder).load_cell(key) == cells[key] for key in finished))
        ballast.unlink()
        with Run.resume_or_create({"a": 1}, folder) as run:
            print(all(run.once(key, lambda: cells[key]) == cells[key] for key in cells))
        """,
        tmp_path / "disk",
    )
    lines = printed.splitlines()
    assert "no space left on device" in lines[0]
    assert "free some space and run the same command again" in lines[0]
    assert lines[1:] == ["True", "True", "True"]


def test_a_read_only_disk_can_be_read_and_says_why_it_cannot_be_written(tmp_path: Path) -> None:
    printed = in_small_disk(
        """
        import subprocess, sys
        from pathlib import Path
        from gnomon.errors import Failure
        from gnomon.runs import Run, list_runs
        root = Path(sys.argv[1])
        with Run.create({"a": 1}, root, name="one") as run:
            run.save_cell("a", {"x": 1})
        killed = Run.create({"a": 1}, root, name="two")
        killed.close()
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        print([(run.name, run.status) for run in list_runs(root)], Run.open(root / "one").load_cell("a"))
        for write in (
            lambda: Run.create({"a": 1}, root),
            lambda: Run.resume_or_create({"a": 1}, root / "one"),
            lambda: Run.resume_or_create({"a": 1}, root / "new"),
            lambda: Run.open(root / "one").event("x"),
        ):
            try:
                write()
                print("written")
            except Failure as error:
                print(error)
        """,
        tmp_path / "disk",
    )
    lines = printed.splitlines()
    assert lines[0] == "[('one', 'finished'), ('two', 'killed')] {'x': 1}"
    assert len(lines) == 5
    for line in lines[1:]:
        assert "cannot be written (read-only file system): choose another folder" in line


def test_a_reading_replaced_while_the_process_dies_is_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(CONFIG, tmp_path)
    run.add(Reading(name="one", title="One", sentence="old"))

    class Killed(BaseException):
        pass

    def die(self: Path, target: Path) -> Path:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        with pytest.raises(Killed):
            run.add(Reading(name="one", title="One", sentence="new"))
    assert [reading.sentence for reading in Run.open(run.folder).readings] == ["old"]
