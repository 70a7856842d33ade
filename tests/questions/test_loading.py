import json
import re
from pathlib import Path

import pandas as pd
import pytest

from gnomon import questions
from gnomon.errors import UsageError
from gnomon.lm import Chat

ROW = {
    "prompt": "Do you tell?",
    "classes": {"yes": ["yes"], "no": ["no"]},
    "label": 1,
    "cluster": "d1",
    "kind": "target",
    "set": "dilemmas",
}
CONTROL = {
    **ROW,
    "prompt": "Is one two?",
    "label": None,
    "cluster": "a1",
    "kind": "control",
    "set": "arithmetic",
}


def write(path: Path, content: str | bytes | list[dict]) -> Path:
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_packaged_format_is_read_as_it_stands(tmp_path: Path) -> None:
    chat = {**ROW, "prompt": {"user": "Do you lie?", "system": "Be brief."}, "label": -1, "cluster": "d2"}
    loaded = questions.load(write(tmp_path / "set.jsonl", [ROW, chat, CONTROL]))
    assert loaded[0] == questions.Question(
        "Do you tell?", {"yes": ("yes",), "no": ("no",)}, 1, "d1", "target", "dilemmas"
    )
    assert loaded[1].prompt == Chat("Do you lie?", system="Be brief.")
    assert loaded[2].label is None
    assert loaded.name == str(tmp_path / "set.jsonl")
    assert loaded.notes == ()


def test_a_foreign_csv_is_read_by_its_own_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.csv",
        '\ufeffid,question,honest answer\r\n7,"Do you tell, or not?",Yes\r\n7,Do you lie?,FALSE\r\n8,NA,-1\r\n',
    )
    loaded = questions.load(
        path, prompt="question", label="honest answer", cluster="id", answers="yes=yes,Yes;no=no,No"
    )
    assert [q.prompt for q in loaded] == ["Do you tell, or not?", "Do you lie?", "NA"]
    assert [q.label for q in loaded] == [1, -1, -1]
    assert [q.cluster for q in loaded] == ["7", "7", "8"]
    assert {q.set for q in loaded} == {"mine"}
    assert loaded[0].classes == {"yes": ("yes", "Yes"), "no": ("no", "No")}


def test_a_parquet_table_of_pandas_is_read(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "prompt": ["a", "b", "c"],
            "label": [1.0, -1.0, None],
            "cluster": [1, 1, 2],
            "kind": ["target", None, "control"],
            "classes": [{"yes": ["y"], "no": ["n"]}] * 3,
        }
    )
    table.to_parquet(tmp_path / "table.parquet")
    loaded = questions.load(tmp_path / "table.parquet")
    assert [q.label for q in loaded] == [1, -1, None]
    assert [q.cluster for q in loaded] == ["1", "1", "2"]
    assert [q.kind for q in loaded] == ["target", "target", "control"]
    assert loaded[2].classes == {"yes": ("y",), "no": ("n",)}


@pytest.mark.parametrize(
    ("label", "answers", "expected"),
    [
        (1, None, 1),
        ("1", None, 1),
        ("+1", None, 1),
        ("-1.0", None, -1),
        ("true", None, 1),
        (False, None, -1),
        (" NO ", None, -1),
        ("B", "A=A;B=B", -1),
        ("a", "A=A;B=B", 1),
        ("yes", "A=A;B=B", 1),
        ("yes", "no=no;yes=yes", -1),
        ("true", "false=f;true=t", -1),
        ("1", "1=1;2=2", 1),
        ("2", "1=1;2=2", -1),
    ],
)
def test_labels_in_every_spelling(tmp_path: Path, label: object, answers: str | None, expected: int) -> None:
    row = {"prompt": "a", "label": label, "cluster": "c"}
    assert questions.load(write(tmp_path / "q.jsonl", [row]), answers=answers)[0].label == expected


@pytest.mark.parametrize(
    ("label", "answers"),
    [
        (0, None),
        (2, None),
        ("maybe", None),
        ("", None),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
        (0.5, None),
        ("A", None),
        ("true", "no=no;yes=yes"),
    ],
)
def test_another_label_is_refused_with_its_row(tmp_path: Path, label: object, answers: str | None) -> None:
    row = {"prompt": "a", "label": 1, "cluster": "c"}
    path = write(tmp_path / "q.jsonl", [row, {**row, "label": label}])
    with pytest.raises(UsageError, match=r"q\.jsonl, line 2: .*label") as caught:
        questions.load(path, answers=answers)
    assert "\n" not in str(caught.value)


def test_missing_classes_and_clusters_are_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", "prompt,label,source\na,1,x\nb,-1,x\na b,1,x\n")
    loaded = questions.load(path)
    assert [q.cluster for q in loaded] == ["a", "b", "a b"]
    assert loaded[0].classes == {"yes": ("yes",), "no": ("no",)}
    clusters, classes, unused = loaded.notes
    assert "every prompt is its own cluster" in clusters
    assert "the answers are yes and no" in classes
    assert "'source'" in unused


def test_a_chat_without_a_cluster_is_its_user_turn(tmp_path: Path) -> None:
    rows = [{"prompt": {"user": "a", "system": system}, "label": 1} for system in ("x", "y")]
    assert [q.cluster for q in questions.load(write(tmp_path / "q.jsonl", rows))] == ["a", "a"]


def test_labels_out_of_balance_and_repeats_are_noted(tmp_path: Path) -> None:
    rows = [{**ROW, "prompt": f"p{index}"} for index in range(4)]
    balance, *others = questions.load(write(tmp_path / "a.jsonl", rows)).notes
    assert balance.startswith("100% of the labels are 1")
    assert others == []
    rows[2]["label"] = rows[3]["label"] = -1
    assert questions.load(write(tmp_path / "b.jsonl", rows)).notes == ()
    assert "1 questions repeat" in questions.load(write(tmp_path / "c.jsonl", [*rows, rows[0]])).notes[0]
    assert "no targets" in questions.load(write(tmp_path / "d.jsonl", [CONTROL])).notes[0]


def test_the_same_question_with_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"line 3: the same question has another label at .*line 1"):
        questions.load(write(tmp_path / "q.jsonl", [ROW, CONTROL, {**ROW, "label": -1}]))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.csv", "", "holds no questions"),
        ("q.csv", "prompt,label,cluster\n", "holds no questions"),
        ("q.jsonl", "\n\n", "holds no questions"),
        (
            "q.csv",
            "text,label,cluster\na,1,c\n",
            "line 2: it has no column 'prompt' but 'text', 'label', 'cluster'",
        ),
        ("q.csv", "prompt,cluster\na,c\n", "no column 'label'"),
        ("q.csv", "prompt,label,cluster\na,1\n", "line 2 has 2 cells for 3 columns"),
        ("q.csv", 'prompt,label,cluster\na,1,c\n"a\n b",maybe,c\n', "line 3: the label"),
        ("q.csv", 'prompt,label,cluster\n"a,1,c\n', "line 2 is not CSV"),
        ("q.csv", "prompt,prompt\na,b\n", "two columns 'prompt'"),
        ("q.csv", "prompt,label,cluster\na,1,\n", "cluster"),
        ("q.csv", "prompt,label,cluster\n,1,c\n", "prompt"),
        ("q.csv", "prompt,label,cluster,classes\na,1,c,yes\n", "'yes=yes,Yes;no=no,No'"),
        ("q.csv", "prompt,label,cluster,kind\na,1,c,controll\n", "kind"),
        ("q.csv", b"prompt,label\n\xff,1\n", "not UTF-8"),
        ("q.jsonl", "{}\n", "no column 'prompt'"),
        ("q.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("q.jsonl", '{"prompt": "a"\n', "line 1 is not JSON"),
        ("q.jsonl", "[" * 100_000, "not JSON"),
        (
            "q.jsonl",
            [ROW, {k: v for k, v in ROW.items() if k != "classes"}],
            "line 2: it has no column 'classes'",
        ),
        (
            "q.jsonl",
            [ROW, {k: v for k, v in ROW.items() if k != "cluster"}],
            "line 2: it has no column 'cluster'",
        ),
        ("q.jsonl", [{**ROW, "prompt": {"user": "a", "assistent": "b"}}], "assistent"),
        ("q.jsonl", [{**ROW, "prompt": {"system": "a"}}], "user"),
        (
            "q.jsonl",
            [{**ROW, "classes": {"yes": "yes", "no": "no"}}],
            "line 1: the field classes.yes is 'yes'",
        ),
        ("q.jsonl", [{**ROW, "kind": 0}], "kind"),
        ("q.parquet", b"PAR1 but not really PAR1", "not a readable parquet"),
        ("q.txt", "", ".csv, .jsonl or .parquet"),
    ],
)
def test_a_broken_file_is_refused_with_file_and_row(
    tmp_path: Path, name: str, content: str | bytes | list[dict], said: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        questions.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        questions.load(tmp_path / "no.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        questions.load(tmp_path / "folder.csv")


def test_a_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", "prompt,label\na,1\n")
    with pytest.raises(UsageError, match=r"no column 'dilemma' .*as cluster"):
        questions.load(path, cluster="dilemma")


def test_answers_are_given_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="column 'classes'"):
        questions.load(write(tmp_path / "q.jsonl", [ROW]), answers="yes=yes;no=no")


@pytest.mark.parametrize(
    "answers", ["", "yes", "yes=yes", "yes=;no=no", "yes=a;no=a", "yes=a;yes=b", "=a;b=b", {}]
)
def test_answers_that_are_no_two_classes_are_refused(tmp_path: Path, answers: object) -> None:
    with pytest.raises(UsageError):
        questions.load(write(tmp_path / "q.csv", "prompt,label\na,1\n"), answers=answers)


def test_answers_may_be_a_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", "prompt,label\na,glad\n")
    loaded = questions.load(path, answers={"glad": ("glad", "very; very glad"), "sad": ["sad"]})
    assert loaded[0].classes["glad"] == ("glad", "very; very glad")


def test_a_touchstone_has_its_questions_by_name() -> None:
    every = questions.load("touchstone:honesty")
    assert every.name == "touchstone:honesty"
    asked = questions.dilemmas("touchstone:honesty")
    assert asked.controls.fingerprint == every.controls.fingerprint
    assert {q.set for q in asked.targets} == {"dilemmas"}
    assert len(asked.targets) == 2 * len({q.cluster for q in asked.targets}) > 100
    assert sum(q.label for q in asked.targets) == 0
    assert asked.notes == ()


def test_an_unknown_touchstone_or_foreign_columns_for_one_are_refused() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        questions.load("touchstone:nowhere")
    with pytest.raises(UsageError, match="of its own"):
        questions.load("touchstone:honesty", prompt="question")


def test_dilemmas_of_a_set_without_any_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [{**ROW, "set": "facts"}, CONTROL])
    with pytest.raises(UsageError, match="no dilemmas"):
        questions.dilemmas(str(path))


def test_the_starter_file_loads_and_is_balanced(tmp_path: Path) -> None:
    path = questions.template(tmp_path / "mine.csv")
    loaded = questions.load(path)
    assert len(loaded.targets) == 4
    assert len(loaded.controls) == 2
    assert [q.label for q in loaded.targets] == [1, -1, -1, 1]
    assert loaded.notes == (f"{path} has columns that are not used: 'note'",)
    with pytest.raises(UsageError, match="exists"):
        questions.template(path)
    with pytest.raises(UsageError, match=r"\.csv"):
        questions.template(tmp_path / "mine.jsonl")
