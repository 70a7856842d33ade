"""Supervised: other dilemmas are answered as asked, a killed training ends in the same bytes, the door speaks."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gnomon import questions
from gnomon.bench import steering_f1
from gnomon.contrast import Contrast
from gnomon.dials import Dial
from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.methods import METHODS, Supervised, Trained, named
from gnomon.questions import Question, Questions
from gnomon.worlds.grammar import WORLDS
from gnomon.worlds.labelled import training_questions

SMALL: dict[str, Any] = {"rank": 4, "rows": 4, "steps": 6, "edited": (0, 1)}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Labelled questions in the words of the tiny model."""
    classes = {"yes": ["yes"], "no": ["no"]}
    rows = [
        Question(f"is the {place} blue and do you {deed} ?", classes, label, place, "target", "t")
        for place in ("sky", "grass", "cat", "dog", "mat", "tea")
        for deed, label in (("like that", 1), ("sat", -1))
    ]
    rows += [
        Question(f"is {a} plus two five ?", classes, None, a, "control", "sums")
        for a in ("one", "two", "three")
    ]
    path = tmp_path_factory.mktemp("labelled") / "training.jsonl"
    return str(questions.save(Questions(rows, name="training"), path))


def weights(dial: Dial, folder: Path) -> bytes:
    (path,) = dial.save(folder).glob("*.safetensors")
    return path.read_bytes()


def test_labels_of_the_training_split_raise_the_score_on_other_dilemmas(tmp_path: Path) -> None:
    lm = LM.load("touchstone:honesty")
    file = questions.save(training_questions(WORLDS["honesty"], 30), tmp_path / "training.jsonl")
    clusters = {f"d{number}" for number in range(30)}
    held_out = questions.load("touchstone:honesty")
    asked = Questions((one for one in held_out if one.label is None or one.cluster in clusters), name="few")
    dial = Supervised(str(file), rank=16, rows=12, steps=30, learning_rate=0.01).fit(
        lm, Contrast("honest", "dishonest")
    )
    found = steering_f1(lm, dial, asked).headline
    assert found is not None
    # The model as it is has 0 by definition.
    assert found.estimate > 50
    assert found.low > 25


def test_the_dial_says_what_it_was_given(tiny_lm: LM, tiny_contrast: Contrast, labelled: str) -> None:
    dial = Supervised(labelled, **SMALL).fit(tiny_lm, tiny_contrast)
    assert dial.name == dial.notes["method"] == "supervised (labels)"
    assert dial.notes["labels"] == f"12 labelled questions of {labelled}: a ceiling, no fair competitor"
    assert dial.notes["controls"] == 3
    assert dial.notes["edited blocks"] == "0 to 1"
    assert dial.words == ("honest", "dishonest")
    assert dial.first_token
    assert [edit.core.rank for edit in dial.edits] == [4] * 4
    assert json.loads(json.dumps(dial.notes)) == dial.notes
    dial.check(tiny_lm, strict=True)


def test_by_default_the_first_half_is_edited(tiny_lm: LM, tiny_contrast: Contrast, labelled: str) -> None:
    dial = Supervised(labelled, rank=2, steps=1).fit(tiny_lm, tiny_contrast)
    assert dial.notes["edited blocks"] == "0 to 1"


def test_the_same_seed_is_the_same_dial_and_another_seed_another(
    tiny_lm: LM, tiny_contrast: Contrast, labelled: str, tmp_path: Path
) -> None:
    method = Supervised(labelled, **SMALL)
    first, again, other = (
        weights(method.fit(tiny_lm, tiny_contrast, seed=seed), tmp_path / str(place))
        for place, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first != other


# -- what is given -----------------------------------------------------------------------------------------------------


def test_it_is_a_trained_method_by_name() -> None:
    assert isinstance(METHODS["supervised"], Trained)
    assert named("supervised", {"questions": "mine.jsonl", "steps": 7}) == Supervised("mine.jsonl", steps=7)


def test_without_questions_it_says_how_to_give_them(
    tiny_lm: LM, tiny_contrast: Contrast, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"give a file of them with --set supervised.questions=FILE"):
        Supervised().fit(tiny_lm, tiny_contrast)
    with pytest.raises(UsageError, match=r"cannot read .*gone.jsonl"):
        Supervised(str(tmp_path / "gone.jsonl")).fit(tiny_lm, tiny_contrast)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"rank": 0}, "rank is 0"),
        ({"rows": 0}, "rows is 0"),
        ({"edited": (2, 1)}, r"edited is \(2, 1\); give the first and the last edited block"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; give a positive number"),
        ({"control_weight": -1.0}, "control_weight is -1.0; give 0 or a positive number"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Supervised(**wrong)


# -- faults ------------------------------------------------------------------------------------------------------------


def trained_until(
    lm: LM, contrast: Contrast, method: Supervised, folder: Path, last: int, mark: Path
) -> None:
    """Train, and stand still after `last` steps: someone else ends this process."""

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        done = 0

        def advance(steps: int = 1, said: str = "", /) -> None:
            nonlocal done
            done += steps
            if stage.startswith("training") and done >= last:
                mark.touch()
                time.sleep(600)

        yield advance

    method.fit(lm, contrast, folder=folder, progress=progress)


def test_killed_in_training_and_run_again_it_is_the_same_dial_bit_for_bit(
    tiny_lm: LM, tiny_contrast: Contrast, labelled: str, tmp_path: Path
) -> None:
    method = Supervised(labelled, **{**SMALL, "steps": 140})
    whole = method.fit(tiny_lm, tiny_contrast, folder=tmp_path / "whole")
    folder, mark = tmp_path / "killed", tmp_path / "mark"
    arguments = (tiny_lm, tiny_contrast, method, folder, 120, mark)
    child = multiprocessing.get_context("fork").Process(target=trained_until, args=arguments)
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
        yield lambda steps=1, said="": begun.append(steps) if stage.startswith("training") else None

    again = method.fit(tiny_lm, tiny_contrast, folder=folder, progress=progress)
    assert begun[0] == 100
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    assert again.notes == whole.notes
    for name in ("events.jsonl", "checkpoint.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_folder_is_of_one_training_alone(
    tiny_lm: LM, tiny_contrast: Contrast, labelled: str, tmp_path: Path
) -> None:
    Supervised(labelled, **SMALL).fit(tiny_lm, tiny_contrast, folder=tmp_path / "own")
    fewer = questions.save(questions.load(labelled)[2:], tmp_path / "fewer.jsonl")
    for changed in ({"questions": str(fewer)}, {"control_weight": 2.0}, {"edited": (1, 2)}):
        with pytest.raises(UsageError, match="holds another training"):
            Supervised(**{"questions": labelled, **SMALL, **changed}).fit(
                tiny_lm, tiny_contrast, folder=tmp_path / "own"
            )
