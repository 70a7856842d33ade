"""`gnomon steer` and `gnomon bench`: what is asked of the bench and what is shown of its run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import gnomon.bench
from gnomon.bench.settings import Settings
from gnomon.runs import Reading, Run


@dataclass(frozen=True)
class Estimate:
    forwards: int
    tokens: int
    minutes: float
    sentence: str


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Run]) -> list[tuple[Any, ...]]:
    """What the bench was called with; it returns a finished run, and prints what libraries print."""
    seen: list[tuple[Any, ...]] = []

    def measured(*arguments: Any) -> Run:
        seen.append(arguments)
        print("a library's chatter")
        return make_run(f"run-{len(seen)}")

    def estimated(settings: Settings) -> Estimate:
        seen.append((settings,))
        return Estimate(100, 2000, 1.5, f"about 100 forwards of {settings.model}")

    monkeypatch.setitem(vars(gnomon.bench), "steer", measured)
    monkeypatch.setitem(vars(gnomon.bench), "bench", measured)
    monkeypatch.setitem(vars(gnomon.bench), "estimate", estimated)
    return seen


def test_steer_shows_table_sentence_gaps_and_places(
    invoke: Callable[..., Any], calls: list[Any], reading: Reading
) -> None:
    result = invoke("steer", "--kl", "0.1")
    assert calls == [(Settings(kl=0.1),)]
    shown = result.stdout
    for words in (reading.sentence, "Steering F1, %", "81.2", "Missing: Refusals", "Missing: Steering F1, %"):
        assert words in shown
    assert "report: runs/run-1/report.html\ndial: runs/run-1/dial\n" in shown
    assert result.stderr == (
        "touchstone:honesty; honest / dishonest; methods prompting, engineered-prompting, mean-difference, pca, probe, "
        "act-add, random; seeds 0; kl 0.1\n"
    )


def test_json_is_one_document_and_nothing_else(
    invoke: Callable[..., Any], calls: list[Any], reading: Reading
) -> None:
    result = invoke("steer", "--json")
    told = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert told["status"] == "finished"
    assert told["sentence"] == reading.sentence
    assert told["readings"][0]["headline"]["estimate"] == 81.25
    assert told["readings"][0]["table"] == [
        {"method": "probe", "f1": 81.25, "note": ""},
        {"method": "random", "f1": None, "note": None},
    ]
    assert "Refusals: no opening fits the vocabulary." in told["not_measured"]
    assert (told["report"], told["dials"]) == ("runs/run-1/report.html", ["runs/run-1/dial"])
    assert "a library's chatter" in result.stderr


def test_the_headline_stays_in_sight_and_side_tables_do_not_show(
    invoke: Callable[..., Any], calls: list[Any], reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def several(settings: Settings) -> Run:
        with Run.create({}, "runs") as run:
            run.add(reading)
            run.add(replace(reading, name="steering_f1-kl", title="At equal KL"))
            run.add(replace(reading, name="pairs", title="The pairs"))
            run.add(replace(reading, name="steering_f1-1", title="The second model", sentence="Less."))
            run.add(replace(reading, name="steering_f1-kl-1", title="The second model at equal KL"))
        return run

    monkeypatch.setitem(vars(gnomon.bench), "steer", several)
    shown = invoke("steer").stdout
    titles = ["At equal KL", "The second model at equal KL", "\nSteering F1\n", "\nThe second model\n"]
    assert sorted(titles, key=shown.index) == titles
    assert "The pairs" not in shown
    told = json.loads(invoke("steer", "--json").stdout)
    assert len(told["readings"]) == 5
    assert told["sentence"] == f"{reading.sentence}\nLess."


@pytest.mark.parametrize("command", ["steer", "bench"])
def test_quick_is_the_quick_settings(command: str, invoke: Callable[..., Any], calls: list[Any]) -> None:
    invoke(command, "--quick", "--kl", "0.5")
    assert calls[0][0] == Settings(kl=0.5).quick()


@pytest.mark.parametrize("command", ["steer", "bench"])
def test_estimate_measures_nothing(command: str, invoke: Callable[..., Any], calls: list[Any]) -> None:
    result = invoke(command, "--estimate", "--quick")
    assert result.stdout == "about 100 forwards of touchstone:honesty\n"
    assert calls == [(Settings().quick(),)]
    assert not Path("runs").exists()


def test_estimates_of_several_models_add_up(invoke: Callable[..., Any], calls: list[Any]) -> None:
    models = ["--model", "a/b", "--model", "c/d"]
    shown = invoke("bench", "--estimate", *models).stdout.splitlines()
    assert shown == ["a/b: about 100 forwards of a/b", "c/d: about 100 forwards of c/d"]
    told = json.loads(invoke("bench", "--estimate", "--json", *models).stdout)
    assert told == {"forwards": 200, "tokens": 4000, "minutes": 3.0}


def test_bench_takes_several_models(invoke: Callable[..., Any], calls: list[Any]) -> None:
    result = invoke("bench", "--model", "a/b", "--model", "c/d", "--seeds", "0,1", "--methods", "probe")
    assert calls == [(Settings(model="a/b", seeds=(0, 1), methods=("probe",)), ("a/b", "c/d"))]
    assert result.stderr.startswith("a/b, c/d; honest / dishonest; methods probe; seeds 0, 1")


def test_bench_measures_the_model_of_the_file(invoke: Callable[..., Any], calls: list[Any]) -> None:
    Path("s.yaml").write_text("model: a/b\n")
    invoke("bench", "--config", "s.yaml")
    assert calls[0] == (Settings(model="a/b"), ("a/b",))


def test_the_main_job_on_a_touchstone(invoke: Callable[..., Any]) -> None:
    Path("suffixes.txt").write_text(
        "\n".join(f"is {n} plus one {n} ?" for n in ["one", "two", "three", "four", "five"])
    )
    Path("templates.txt").write_text("you are {} .\nbe {} .\n")
    small = [
        *("--templates", "templates.txt", "--suffixes", "suffixes.txt", "--methods", "mean-difference"),
        *("--strengths", "native", "--sweep", "0.1", "--neutral-samples", "8", "--max-questions", "5"),
        *("--bootstrap", "100", "--max-new-tokens", "2", "--name", "small", "--json"),
    ]
    first, again = (invoke("steer", *small) for _ in range(2))
    told = json.loads(first.stdout)
    assert told["status"] == "finished"
    assert [row["method"] for row in told["readings"][0]["table"]][-1] == "mean difference"
    assert Path(told["report"]).is_file()
    assert told["dials"] == ["runs/small/dial"]
    assert again.stdout == first.stdout
    assert invoke("show", "small").stdout.startswith("runs/small: finished")
    assert "words: honest / dishonest" in invoke("show", "runs/small/dial").stdout
    chatted = invoke("chat", "--model", "touchstone:honesty", "--max-new-tokens", "2", input="be honest .\n")
    assert "with the dial runs/small/dial (honest / dishonest)" in chatted.stderr


def test_a_dial_is_trained_from_the_command_line(invoke: Callable[..., Any], tiny_lm: Any) -> None:
    tiny_lm.model.save_pretrained("model")
    tiny_lm.tokenizer.save_pretrained("model")
    Path("suffixes.txt").write_text("\n".join(f"{n} plus one is" for n in ["one", "two", "three", "five"]))
    Path("templates.txt").write_text("you are {} .\nact as {a} {} person .\n")
    settings = ["steps=2", "rank=2", "rows=2", "max_texts=4", "continued=0", "edited=0,1", "targets=[2]"]
    small = [
        *("--model", "model", "--templates", "templates.txt", "--suffixes", "suffixes.txt"),
        *("--strengths", "native", "--sweep", "0.1", "--neutral-samples", "8", "--max-new-tokens", "2"),
        *("--toward", "kind", "--away", "cruel", "--method", "shift"),
        *(word for one in settings for word in ("--set", f"shift.{one}")),
    ]
    estimated = invoke("steer", *small, "--estimate").stdout
    assert "of it training" in estimated
    told = json.loads(invoke("steer", *small, "--name", "trained", "--json").stdout)
    assert told["status"] == "finished"
    methods = next(one for one in told["readings"] if one["name"] == "methods")["table"]
    assert [(row["method"], row["dial"].split(",")[0]) for row in methods] == [
        ("shift", "rank 2 on 4 Linears")
    ]
    shown = invoke("show", "runs/trained/dial").stdout
    assert (
        "edits: LowRank on 4 Linears (model.layers.0.self_attn.o_proj to model.layers.1.mlp.down_proj)"
        in shown
    )
    assert "best step: 2" in shown
