"""The options mirror the settings: name, help, default, environment variable, and who wins."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import gnomon.bench
from gnomon.bench.settings import BASELINE_METHODS, TRAINED_METHODS, ModelSettings, Settings
from gnomon.cli import app
from gnomon.cli.options import told


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, invoke: Callable[..., Any]) -> Callable[..., Settings]:
    """The settings that `gnomon steer ARGUMENTS` ends up with."""

    def settings(*arguments: object) -> Settings:
        seen: list[Settings] = []
        monkeypatch.setitem(vars(gnomon.bench), "steer", seen.append)
        monkeypatch.setattr("gnomon.cli.steer.show_run", lambda run, as_json: None)
        result = invoke("steer", *arguments)
        assert result.exit_code == 0, result.output
        return seen[0]

    return settings


def fields() -> dict[str, Any]:
    return {**{k: v for k, v in Settings.model_fields.items() if k != "lm"}, **ModelSettings.model_fields}


SPELLINGS = {"methods": ["--methods", "--method"], "method_settings": ["--set"]}


@pytest.mark.parametrize("command", ["steer", "bench"])
def test_every_setting_is_an_option(command: str) -> None:
    shown = {option.name: option for option in get_command(app).commands[command].params}
    for name, field in fields().items():
        assert shown[name].opts == SPELLINGS.get(name, [f"--{name.replace('_', '-')}"])
        if (command, name) != ("bench", "model"):
            assert shown[name].default is None
            assert field.description.replace("[", "\\[") in shown[name].help
    assert set(shown) - set(fields()) == {"config", "quick", "estimate", "json"}


def test_nothing_given_is_the_class_as_it_is(asked: Callable[..., Settings]) -> None:
    assert asked() == Settings()


def test_every_kind_of_option_arrives(asked: Callable[..., Settings]) -> None:
    got = asked(
        *("--model", "a/b", "--toward", "kind hearted", "--away", "cruel", "--kl", "0.1"),
        *("--methods", "probe, pca", "--methods", "random", "--seeds", "0,1", "--seeds", "2"),
        *("--sweep", "1,0.1", "--examples", "first, with a comma", "--examples", "second"),
        *("--max-questions", "7", "--device", "cpu", "--quantization", "8", "--name", "mine"),
        *("--chat-template-kwargs", '{"enable_thinking": false}'),
    )
    assert got == Settings(
        model="a/b",
        toward="kind hearted",
        away="cruel",
        kl=0.1,
        methods=("probe", "pca", "random"),
        seeds=(0, 1, 2),
        sweep=(0.1, 1.0),
        examples=("first, with a comma", "second"),
        max_questions=7,
        name="mine",
        lm=ModelSettings(device="cpu", quantization=8, chat_template_kwargs={"enable_thinking": False}),
    )


def test_method_is_another_spelling_of_methods(asked: Callable[..., Settings]) -> None:
    assert asked("--method", "pca").methods == ("pca",)
    assert asked("--method", "pca", "--methods", "probe,random").methods == ("pca", "probe", "random")
    assert asked("--method", "all") == asked("--methods", "all")
    assert set(TRAINED_METHODS) <= set(asked("--method", "all").methods)


def test_groups_are_named_together_with_methods(asked: Callable[..., Settings]) -> None:
    every = asked("--method", "all").methods
    assert not set(BASELINE_METHODS) & set(every)
    assert asked("--method", "shift,baselines").methods == ("shift", *BASELINE_METHODS)
    assert asked("--method", "lora,baselines,lora,pca").methods == (*BASELINE_METHODS, "pca")
    assert asked("--method", "all,baselines").methods == (*every, *BASELINE_METHODS)
    given = asked("--method", "baselines", "--set", "lora.epochs=2")
    assert given.method_settings == {"lora": {"epochs": 2}}


def test_settings_of_methods_are_json_numbers_with_commas_or_words(
    asked: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["steps=200", "learning_rate=1e-3", "edited=0,2", "targets=[3]", "sides=toward only"]
    options = [word for one in given for word in ("--set", f"shift.{one}")]
    wanted = {"steps": 200, "learning_rate": 0.001, "edited": (0, 2), "targets": (3,), "sides": "toward only"}
    got = asked("--method", "shift,pca", *options, "--set", "pca.block=1")
    assert got.method_settings == {"shift": wanted, "pca": {"block": 1}}
    monkeypatch.setenv("GNOMON_METHOD_SETTINGS", "shift.steps=7\nshift.edited=0,2")
    assert asked("--method", "shift").method_settings == {"shift": {"steps": 7, "edited": (0, 2)}}


def test_settings_of_methods_are_announced(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(gnomon.bench), "steer", lambda settings: None)
    monkeypatch.setattr("gnomon.cli.steer.show_run", lambda run, as_json: None)
    said = invoke("steer", "--method", "shift", "--set", "shift.steps=9", "--set", "shift.edited=0,1").stderr
    assert said.rstrip().endswith("method_settings shift.steps=9, shift.edited=0,1")


def test_option_wins_over_environment_and_environment_over_file(
    asked: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("s.yaml").write_text(
        "kl: 0.1\nbootstrap: 500\nneutral_samples: 20\nmethods: [pca]\nlm: {device: cuda, dtype: float16}\n"
    )
    monkeypatch.setenv("GNOMON_KL", "0.2")
    monkeypatch.setenv("GNOMON_NEUTRAL_SAMPLES", "30")
    monkeypatch.setenv("GNOMON_DEVICE", "mps")
    got = asked("--config", "s.yaml", "--kl", "0.3")
    assert (got.kl, got.neutral_samples, got.bootstrap, got.methods) == (0.3, 30, 500, ("pca",))
    assert (got.lm.device, got.lm.dtype) == ("mps", "float16")


def test_lists_in_the_environment(asked: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_METHODS", "probe,pca random")
    monkeypatch.setenv("GNOMON_SEEDS", "3,4")
    monkeypatch.setenv("GNOMON_EXAMPLES", "do you lie, ever ?\nare you honest ?")
    got = asked()
    assert (got.methods, got.seeds) == (("probe", "pca", "random"), (3, 4))
    assert got.examples == ("do you lie, ever ?", "are you honest ?")


def test_the_configuration_file_can_be_named_by_the_environment(
    asked: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("s.toml").write_text('toward = "brave"\naway = "timid"\n')
    monkeypatch.setenv("GNOMON_CONFIG", "s.toml")
    assert asked().toward == "brave"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--toward", " "], ["toward word is empty"]),
        (["--away", "Honest"], ["two different words"]),
        (["--methods", "probe,prob"], ["no method 'prob'", "mean-difference"]),
        (["--strengths", "strong"], ["no strength 'strong'"]),
        (["--seeds", "0,x"], ["seeds", "integer"]),
        (["--kl", "-1"], ["kl", "greater than 0"]),
        (["--quantization", "3"], ["4 or 8 bits"]),
        (["--chat-template-kwargs", "{thinking}"], ["--chat-template-kwargs is not JSON"]),
        (["--method", "shift", "--set", "shift.step=1"], ["no setting 'step'", "learning_rate"]),
        (["--method", "shift", "--set", "shift.steps=many"], ["shift.steps is 'many'"]),
        (["--method", "shift", "--set", "steps=1"], ["'steps=1' is no setting", "--set shift.steps=200"]),
        (["--method", "shift", "--set", "shift.steps"], ["'shift.steps' is no setting"]),
        (["--set", "shift.steps=1"], ["'shift' is none of the methods", "--method shift"]),
        (["--config", "absent.yaml"], ["absent.yaml cannot be read"]),
        (["--config", "typo.yaml"], ["no setting 'modle'", "typo.yaml"]),
    ],
)
@pytest.mark.parametrize("command", ["steer", "bench"])
def test_wrong_settings_are_told_in_one_line(
    command: str, arguments: list[str], words: list[str], refused: Callable[..., str]
) -> None:
    Path("typo.yaml").write_text("modle: x\n")
    sentence = refused(2, command, *arguments)
    assert all(word in sentence for word in words), sentence


def test_told_is_what_differs() -> None:
    settings = Settings(kl=0.1, lm=ModelSettings(device="cpu"), seeds=(0,))
    assert told(settings) == {"kl": 0.1, "device": "cpu"}


def test_help_shows_description_and_default(invoke: Callable[..., Any]) -> None:
    shown = " ".join(invoke("steer", "--help", env={"COLUMNS": "400"}).stdout.split())
    for name, field in fields().items():
        assert field.description in shown
        if isinstance(field.default, (int, float, str)):
            assert f"{field.description} [default: {field.default}]" in shown, name


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups too."""
    waiting = [("gnomon", get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        waiting += [(f"{name} {inner}", one) for inner, one in getattr(command, "commands", {}).items()]


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_help_has_an_example_that_can_be_typed(name: str, command: Any) -> None:
    said, _, example = command.epilog.partition("Example: ")
    assert (said, f"{example} ".startswith(f"{name} ")) == ("", True)
    command, words = get_command(app), shlex.split(example)[1:]
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(name, words)  # raises where the example is wrong


def test_a_touchstone_brings_its_own_words(asked: Callable[..., Settings]) -> None:
    def words(*arguments: str) -> tuple[str, str]:
        settings = asked(*arguments)
        return settings.toward, settings.away

    assert words() == ("honest", "dishonest")
    assert words("--model", "touchstone:generosity") == ("generous", "greedy")
    assert words("--model", "touchstone:generosity", "--toward", "kind") == ("kind", "greedy")
    assert words("--model", "elsewhere/model") == ("honest", "dishonest")


def test_the_first_of_several_models_decides_the_words(
    monkeypatch: pytest.MonkeyPatch, invoke: Callable[..., Any]
) -> None:
    seen: list[tuple[Settings, tuple[str, ...]]] = []
    monkeypatch.setitem(vars(gnomon.bench), "bench", lambda *given: seen.append(given))
    monkeypatch.setattr("gnomon.cli.bench.show_run", lambda run, as_json: None)
    models = ("touchstone:generosity", "touchstone:null")
    invoke("bench", *(part for model in models for part in ("--model", model)), "--quick")
    ((settings, measured),) = seen
    assert (settings.model, settings.toward, settings.away) == (models[0], "generous", "greedy")
    assert measured == models
