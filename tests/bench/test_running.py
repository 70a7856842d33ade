"""The main job end to end: what it leaves, that it resumes after kill -9, and what it refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from gnomon.bench import Settings, compare
from gnomon.bench.running import bench, preferred_of, steer
from gnomon.dials import Dial
from gnomon.errors import UsageError
from gnomon.runs import Run


def tables(run: Run) -> dict[str, pd.DataFrame]:
    return {reading.name: reading.table for reading in run.readings if reading.table is not None}


def test_a_run_leaves_tables_sentence_dial_and_report(small_settings, tiny_lm) -> None:
    run = steer(small_settings)
    assert run.status == "finished"
    readings = {reading.name: reading for reading in run.readings}
    assert {
        "steering_f1",
        "f1_against_kl",
        "steering_f1-kl",
        "steering_f1-native",
        "pairs",
        "examples",
    } <= set(readings)
    table = readings["steering_f1"].table.set_index("method")
    assert list(table.index) == ["none", "yes-bias (control)", "prompting", "mean difference", "random"]
    nothing = table.loc["none"]
    assert (nothing.toward_nats, nothing.away_nats, nothing.kl) == (0, 0, 0)
    assert readings["steering_f1"].sentence.startswith("more honest: ")
    equal = readings["steering_f1-kl"].table.set_index("method").loc[["mean difference", "random"]]
    assert equal.kl.to_numpy() == pytest.approx(0.25, rel=0.05)
    dial = Dial.load(run.folder / "dial")
    assert dial.words == ("honest", "dishonest")
    dial.check(tiny_lm)
    page = (run.folder / "report.html").read_text()
    assert readings["steering_f1"].sentence.split(";")[0] in page
    examples = readings["examples"]
    assert list(examples.generations[0].texts) == ["−1", "−0.5", "0", "+0.5", "+1"]
    assert len(examples.figures) == 9
    assert examples.sentence.startswith("The dial of mean difference (matched, ")
    assert (
        f"By hand: gnomon chat --model {small_settings.model} --dial {run.folder / 'dial'}" in examples.notes
    )
    assert "Turn it yourself" in page


def test_the_same_settings_give_the_same_tables(small_settings) -> None:
    first, second = tables(steer(small_settings)), tables(steer(small_settings))
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, second[name])


def test_several_models_and_seeds_share_one_run(small_settings, bench_files) -> None:
    settings = small_settings.model_copy(update={"seeds": (0, 1), "methods": ("mean-difference", "random")})
    run = bench(settings, (bench_files["model"], bench_files["model"]))
    found = tables(run)
    assert {"steering_f1-0", "steering_f1-1"} <= set(found)
    # The same model twice is the same measurement twice.
    pd.testing.assert_frame_equal(found["steering_f1-0"], found["steering_f1-1"])
    rows = found["steering_f1-0"].set_index("method")
    assert rows.loc["random", "seed_deviation"] >= 0
    reading = compare(run, run)
    assert reading.table.difference.dropna().eq(0).all()
    assert set(reading.table.seed) == {0, 1}


def test_a_run_without_questions_says_that_nothing_was_scored(small_settings) -> None:
    run = steer(small_settings.model_copy(update={"questions": None, "toward": "kind", "away": "cruel"}))
    first = run.readings[0]
    assert "not measured, because no questions were given" in first.sentence
    assert first.headline is None
    examples = next(reading for reading in run.readings if reading.name == "examples")
    assert (len(examples.generations), examples.figures) == (2, {})
    with pytest.raises(UsageError, match="no scored answers"):
        compare(run, run)


def test_a_run_killed_at_any_moment_resumes_to_the_same_table(small_settings, tmp_path: Path) -> None:
    whole = tables(steer(small_settings.model_copy(update={"name": "whole"})))
    config = tmp_path / "settings.json"
    settings = small_settings.model_copy(update={"root": str(tmp_path / "killed")})
    config.write_text(settings.model_dump_json())
    code = (
        "import sys; from gnomon.bench import Settings; from gnomon.bench.running import bench;"
        "bench(Settings.model_validate_json(open(sys.argv[1]).read()))"
    )
    for cells in (2, 6, 9):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(config)], env={**os.environ, "GNOMON_QUIET": "1"}
        )
        deadline = time.monotonic() + 120
        while (
            child.poll() is None
            and len(list((tmp_path / "killed").glob("*/cells/**/*.parquet"))) < cells // 2
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
    folders = list((tmp_path / "killed").iterdir())
    assert len(folders) == 1, "an interrupted run is resumed, not begun again"
    run = bench(settings)
    assert run.folder.resolve() == folders[0].resolve()
    assert run.status == "finished"
    resumed = tables(run)
    assert set(resumed) == set(whole)
    for name, table in whole.items():
        pd.testing.assert_frame_equal(table, resumed[name])


def test_a_named_run_refuses_other_settings_and_other_questions(
    small_settings, bench_files, tmp_path: Path
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(Path(bench_files["questions"]).read_text())
    settings = small_settings.model_copy(
        update={"questions": str(questions), "name": "mine", "methods": ("prompting",)}
    )
    steer(settings)
    with pytest.raises(UsageError, match="kl"):
        steer(settings.model_copy(update={"kl": 0.5}))
    lines = questions.read_text().splitlines()
    questions.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UsageError, match="questions"):
        steer(settings)


TRAINED = {
    "steps": 3,
    "rank": 4,
    "rows": 4,
    "max_texts": 16,
    "continued": 0,
    "edited": (0, 1),
    "targets": (2,),
}


def test_a_trained_method_has_the_settings_that_it_was_given_and_no_others_resume_it(small_settings) -> None:
    settings = small_settings.model_copy(
        update={"methods": ("shift",), "method_settings": {"shift": TRAINED}, "name": "trained"}
    )
    run = steer(settings)
    dial = Dial.load(run.folder / "dial")
    assert {edit.core.rank for edit in dial.edits} == {4}
    assert dial.notes["best step"] <= 3
    assert run.config["method_settings"]["shift"]["steps"] == 3
    found = {reading.name: reading for reading in run.readings}
    row = found["methods"].table.iloc[0]
    assert (row.method, row.dial) == (
        "shift",
        "rank 4 on 4 Linears, model.layers.0.self_attn.o_proj to model.layers.1.mlp.down_proj",
    )
    assert "edited blocks 0 to 1; matched blocks 2" in row.notes
    other = {"shift": {**TRAINED, "steps": 4}}
    with pytest.raises(UsageError, match=r"method_settings\.shift\.steps: 3 there, 4 here"):
        steer(settings.model_copy(update={"method_settings": other}))


def test_runs_with_other_questions_are_not_compared(small_settings) -> None:
    first = steer(small_settings.model_copy(update={"methods": ("prompting",)}))
    second = steer(small_settings.model_copy(update={"methods": ("prompting",), "max_questions": 12}))
    with pytest.raises(UsageError, match="same questions"):
        compare(first, second)


def test_a_prompt_or_a_random_direction_is_never_preferred() -> None:
    from gnomon.bench.measure import Measured

    def one(method: str, recovery: float | None) -> Measured:
        return Measured(method, None, {}, (), recovery, 0.0)

    assert preferred_of([one("prompting", None), one("random", 0.9), one("PCA", 0.1)]).method == "PCA"
    assert preferred_of([one("prompting", None), one("random", 0.9)]) is None


def test_settings_are_one_class_for_files_and_flags(tmp_path: Path) -> None:
    from gnomon.bench import settings_from

    file = tmp_path / "steer.toml"
    file.write_text('toward = "kind"\naway = "cruel"\nkl = 0.1\n[lm]\ndtype = "float32"\n')
    settings = settings_from(file, {"kl": 0.5, "away": None})
    assert (settings.toward, settings.away, settings.kl, settings.lm.dtype) == (
        "kind",
        "cruel",
        0.5,
        "float32",
    )
    (tmp_path / "s.yaml").write_text("toward: kind\naway: cruel\n")
    assert settings_from(tmp_path / "s.yaml").toward == "kind"
    for content, said in (
        ('toward = "kind"\naway = "Kind"\n', "two different words"),
        ('towards = "kind"\n', "no setting 'towards'"),
        ('methods = ["magic"]\n', "no method 'magic'"),
        ("kl = -1\n", "kl"),
        ("toward = \n", "not valid"),
    ):
        file.write_text(content)
        with pytest.raises(UsageError, match=said):
            settings_from(file)
    with pytest.raises(UsageError, match="cannot be read"):
        settings_from(tmp_path / "none.toml")
    assert isinstance(Settings().quick(), Settings)


def test_settings_of_methods_come_from_file_and_flags_with_the_types_of_their_fields(tmp_path: Path) -> None:
    from gnomon.bench import settings_from

    file = tmp_path / "steer.toml"
    file.write_text(
        'methods = ["shift", "pca"]\n[method_settings.shift]\nsteps = 200\nedited = [0, 2]\n'
        "[method_settings.pca]\nblock = 1\n"
    )
    settings = settings_from(file, {"method_settings": {"shift": {"steps": "300", "rank": 8}}})
    assert settings.method_settings == {
        "shift": {"steps": 300, "edited": (0, 2), "rank": 8},
        "pca": {"block": 1},
    }
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shift": {"step": 1}}, "shift has no setting 'step'; its settings are rank, "),
        ({"shift": {"steps": "many"}}, "shift.steps is 'many'"),
        ({"shift": {"rank": 0}}, "rank"),
        ({"shft": {"steps": 1}}, "there is no method 'shft'; choose from prompting"),
        ({"pca": {"block": 1}}, "'pca' is none of the methods that are measured; add it with --method pca"),
        ({"shift": 3}, "method_settings.shift"),
    ],
)
def test_settings_that_fit_no_method_are_refused_at_the_door(given, said: str) -> None:
    from gnomon.bench import settings_from

    with pytest.raises(UsageError, match=said):
        settings_from(None, {"methods": ("shift",), "method_settings": given})
