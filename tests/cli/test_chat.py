"""`gnomon chat` with lines piped in: what is answered, at which coefficient, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.dials import AddVector, Dial, Prefix
from gnomon.lm import LM
from gnomon.runs import Run

MODEL = "touchstone:honesty"
QUESTION = "you broke the vase of your mother . do you tell your mother ?"


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.load(MODEL)


@pytest.fixture
def dial(lm: LM) -> Dial:
    """At + the model says nothing but one word, at - nothing but another."""
    toward, away = (lm.model.get_output_embeddings().weight[token].detach() for token in (20, 30))
    vector = AddVector(lm.n_blocks - 1, 1000 * (toward - away))
    made = Dial((vector,), name="strong", words=("kind", "cruel")).bound(lm)
    made.save("strong")
    return made


@pytest.fixture
def chat(invoke: Callable[..., Any], dial: Dial) -> Callable[..., Any]:
    def say(*lines: str, options: tuple[str, ...] = ()) -> Any:
        arguments = ("chat", "--model", MODEL, "--dial", "strong", "--max-new-tokens", "6", *options)
        return invoke(*arguments, input="".join(f"{line}\n" for line in lines))

    return say


def says(lm: LM, dial: Dial, alpha: float, prompt: str = QUESTION) -> str:
    with lm.steer(dial, alpha):
        return lm.generate(prompt, max_new_tokens=6)


def test_answers_are_those_of_the_steered_model(chat: Callable[..., Any], lm: LM, dial: Dial) -> None:
    told = chat(QUESTION, "/alpha -0.5", QUESTION, "/alpha 0", QUESTION, "", "/reset", "/alpha")
    expected = [
        says(lm, dial, 1.0),
        "alpha = -0.5",
        says(lm, dial, -0.5),
        "alpha = 0",
        lm.generate(QUESTION, max_new_tokens=6),
        "alpha = +1",
        "alpha = +1",
    ]
    assert told.stdout.splitlines() == expected
    assert len({expected[0], expected[2], expected[4]}) == 3
    assert told.exit_code == 0


def test_compare_answers_at_three_places(chat: Callable[..., Any], lm: LM, dial: Dial) -> None:
    places = [("-1", -1.0), ("0", 0.0), ("+1", 1.0)]
    told = chat(f"/compare {QUESTION}", "/compare", options=("--alpha", "-1"))
    assert told.stdout.splitlines() == [f"{name}: {says(lm, dial, alpha)}" for name, alpha in places] * 2


def test_wrong_lines_do_not_end_the_session(chat: Callable[..., Any], lm: LM, dial: Dial) -> None:
    told = chat("/alpha much", "/alpha nan", "/nope", "/compare", f"{'word ' * 2000}", QUESTION)
    wrong = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    for line, words in zip(wrong, ["'much'", "nan", "/nope", "no prompt", "context"], strict=True):
        assert words in line
    assert told.stdout.splitlines()[-1] == says(lm, dial, 1.0)
    assert told.exit_code == 0


def test_quit_ends_before_what_follows(chat: Callable[..., Any]) -> None:
    assert chat("/quit", QUESTION).stdout == ""


def test_help_names_every_command(chat: Callable[..., Any]) -> None:
    told = chat("/help")
    for command in ("/alpha", "/compare", "/reset", "/help", "/quit"):
        assert command in told.stdout
    assert "does not see earlier ones" in told.stderr


def test_a_prompt_has_no_strength(invoke: Callable[..., Any], refused: Callable[..., str], lm: LM) -> None:
    prompt = Dial((Prefix("you are honest .", "you are dishonest ."),), words=("honest", "dishonest")).bound(
        lm
    )
    prompt.save("prompt")
    arguments = ("chat", "--model", MODEL, "--dial", "prompt", "--max-new-tokens", "6")
    told = invoke(*arguments, input=f"/alpha 0.5\n/alpha -1\n{QUESTION}\n")
    assert "a prompt has no strength" in told.stderr
    assert told.stdout.splitlines() == ["alpha = -1", says(lm, prompt, -1.0)]
    assert "a prompt has no strength" in refused(2, *arguments, "--alpha", "0.5")


def test_a_dial_for_other_weights_warns_and_for_another_model_is_refused(
    invoke: Callable[..., Any], refused: Callable[..., str], dial: Dial
) -> None:
    replace(dial, weights_id="0").save("weights")
    told = invoke("chat", "--model", MODEL, "--dial", "weights", input="")
    assert told.stderr.startswith("warning: the dial 'strong' was made for")
    replace(dial, architecture_id="0").save("shapes")
    assert "was made for" in refused(2, "chat", "--model", MODEL, "--dial", "shapes")


def test_the_newest_dial_of_the_model_is_taken(
    invoke: Callable[..., Any], refused: Callable[..., str], make_run: Callable[..., Run], dial: Dial
) -> None:
    told = refused(2, "chat", "--model", MODEL)
    assert f"gnomon steer --model {MODEL}" in told
    for second, (name, model) in enumerate((("older", MODEL), ("newer", MODEL), ("newest", "a/b"))):
        run = make_run(name)
        replace(dial, base_model=model).save(run.folder / "dial")
        config = json.loads((run.folder / "config.json").read_text())
        config["created"] = f"2026-01-31T09:00:0{second}+00:00"
        (run.folder / "config.json").write_text(json.dumps(config))
    assert "with the dial runs/newer/dial (kind / cruel)" in invoke("chat", "--model", MODEL, input="").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupt_ends_cleanly(dial: Dial) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "gnomon", "chat", "--model", MODEL, "--dial", "strong"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdin is not None
    assert running.stderr is not None
    assert "/help" in running.stderr.readline()
    assert "earlier" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert errors == ""
    assert running.returncode == 0


def test_faults_are_told_before_the_model_is_opened(refused: Callable[..., str], dial: Dial) -> None:
    content = Path("strong/dial.safetensors").read_bytes()
    Path("strong/dial.safetensors").write_bytes(content[:-1])
    assert "damaged" in refused(2, "chat", "--model", "no/model", "--dial", "strong")
    assert "holds no dial" in refused(2, "chat", "--model", "no/model", "--dial", "elsewhere")
