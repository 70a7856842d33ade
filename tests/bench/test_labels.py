"""The door of `supervised`: a file of labels that exists and is not what the score is made of; its place in a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gnomon.bench import Settings, estimate, settings_from
from gnomon.bench.opening import check_labels
from gnomon.bench.running import bench, steer
from gnomon.errors import UsageError

TRAINING = {"rank": 4, "rows": 4, "steps": 4, "edited": [0, 1]}


def question(prompt: Any, label: int | None, cluster: str) -> dict[str, Any]:
    kind = "control" if label is None else "target"
    classes = {"yes": ["yes"], "no": ["no"]}
    return {
        "prompt": prompt,
        "label": label,
        "cluster": cluster,
        "kind": kind,
        "set": "t",
        "classes": classes,
    }


OTHERS = [
    question(f"do you {deed} the {place} ?", label, f"training {place}")
    for place in ("sky", "cat", "dog", "mat")
    for deed, label in (("like", 1), ("sat", -1))
]


@pytest.fixture
def asked(bench_files: dict[str, str], tmp_path: Path) -> Any:
    """Settings with a training file that holds these further rows."""

    def make(*further: dict[str, Any], methods: tuple[str, ...] = ("supervised",)) -> Settings:
        file = tmp_path / "training.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in [*OTHERS, *further]))
        return Settings(
            **bench_files,
            methods=methods,
            method_settings={"supervised": {"questions": str(file), **TRAINING}},
            strengths=("native",),
            sweep=(0.1,),
            neutral_samples=8,
            bootstrap=200,
            max_new_tokens=4,
            root=str(tmp_path / "runs"),
        )

    return make


def refused(settings: Settings, *models: str) -> str:
    """What the bench says, before it has made a folder."""
    with pytest.raises(UsageError) as error:
        bench(settings, models)
    assert not Path(settings.root).exists()
    return str(error.value)


@pytest.mark.parametrize(
    "prompt", ["is the sky red and do you sat that ?", "  Is the sky RED and do you sat that ? "]
)
def test_a_prompt_that_is_also_asked_in_the_test_is_refused_and_named(asked: Any, prompt: str) -> None:
    said = refused(asked(question(prompt, -1, "another name")))
    assert "share the prompt 'is the sky red and do you sat that ?'" in said
    assert "training.jsonl and " in said
    assert said.endswith("trained on what it is scored on; train on other questions")
    in_a_chat = question({"user": prompt, "assistant": "so :"}, -1, "another name")
    assert "share the prompt" in refused(asked(in_a_chat))


def test_a_control_that_is_also_asked_in_the_test_is_refused(asked: Any) -> None:
    assert "share the prompt 'is one plus two five ?'" in refused(
        asked(question("is one plus two five ?", None, "another name"))
    )


def test_a_cluster_of_the_test_is_refused_and_named(asked: Any) -> None:
    assert "share the cluster 'cat green'" in refused(asked(question("the cat ?", 1, "cat green")))


def test_every_model_has_its_own_test_questions_and_all_are_looked_at_first(asked: Any) -> None:
    settings = asked(question("is one plus two three ?", None, "d7")).model_copy(update={"questions": None})
    check_labels(settings, (settings.model,))  # the packaged set for these words
    said = refused(settings, settings.model, "touchstone:honesty")
    assert "training.jsonl and touchstone:honesty share the cluster 'd7'" in said


def test_without_a_file_or_with_a_missing_one_nothing_begins(asked: Any, tmp_path: Path) -> None:
    settings = asked()
    bare = settings.model_copy(update={"method_settings": {}})
    assert "--set supervised.questions=FILE" in refused(bare)
    with pytest.raises(UsageError, match=r"--set supervised\.questions=FILE"):
        estimate(bare)
    gone = {"supervised": {"questions": str(tmp_path / "gone.jsonl")}}
    assert "cannot read" in refused(settings.model_copy(update={"method_settings": gone}))
    # Nobody asks for labels where nothing is trained on them.
    check_labels(bare.model_copy(update={"methods": ("pca",)}), (settings.model,))


def test_all_leaves_it_out_and_its_name_is_known() -> None:
    assert "supervised" not in settings_from(flags={"methods": ("all",)}).methods
    assert settings_from(flags={"methods": ("supervised",)}).methods == ("supervised",)


@pytest.mark.filterwarnings("ignore:the 24 suffixes are alike")
def test_it_stands_in_the_table_marked_and_is_never_the_preferred_dial(asked: Any) -> None:
    run = steer(asked(methods=("random", "supervised")))
    readings = {reading.name: reading for reading in run.readings}
    table = readings["steering_f1"].table
    assert list(table["method"]) == ["none", "yes-bias (control)", "random", "supervised (labels)"]
    assert not (run.folder / "dial").exists()
    assert not [note for note in readings["steering_f1"].notes if "read it at native strength" in note]
    found = readings["methods"]
    assert "except by supervised (labels): a ceiling" in found.sentence
    notes = found.table.set_index("method")["notes"]["supervised (labels)"]
    assert "8 labelled questions of " in notes
    assert "no fair competitor" in notes


@pytest.mark.filterwarnings("ignore:the 24 suffixes are alike")
def test_other_labels_in_the_same_file_are_another_run(asked: Any) -> None:
    settings = asked().model_copy(update={"name": "mine"})
    steer(settings)
    steer(settings)
    changed = asked(question("the dog ?", 1, "one more")).model_copy(update={"name": "mine"})
    with pytest.raises(UsageError, match=r"made with another config \(files_sha256.labels"):
        steer(changed)
