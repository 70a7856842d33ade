"""Any valid questions survive every format; any damage is a `UsageError` or still valid questions."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnomon import questions
from gnomon.errors import UsageError
from gnomon.lm import Chat
from gnomon.questions import Question, Questions

FORMATS = (".jsonl", ".csv", ".parquet")
quick = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

any_text = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["{", '{"user": 1', '"', "a,b;c=d", "\r", "\n", "\x00", "\ufeff", "\u2028", "NaN", "null", "-1"]
    ),
)
text = any_text.filter(lambda value: value.strip() != "")
chats = st.builds(Chat, user=text, system=st.none() | any_text, assistant=any_text)


@st.composite
def one_question(draw: st.DrawFn) -> Question:
    names = draw(st.lists(text, min_size=2, max_size=2, unique_by=lambda name: name.strip().casefold()))
    spellings = draw(st.lists(text, min_size=2, max_size=6, unique=True))
    cut = draw(st.integers(1, len(spellings) - 1))
    kind = draw(st.sampled_from(["target", "control"]))
    if names[0].strip() == "-1" or names[1].strip() == "1":
        names.reverse()
    return Question(
        prompt=draw(text | chats),
        classes={names[0]: tuple(spellings[:cut]), names[1]: tuple(spellings[cut:])},
        label=draw(st.sampled_from([1, -1])) if kind == "target" else None,
        cluster=draw(text),
        kind=kind,
        set=draw(text),
    )


many = st.lists(one_question(), min_size=1, max_size=4, unique_by=lambda q: repr((q.prompt, q.classes)))


@pytest.mark.parametrize("suffix", FORMATS)
@quick
@given(asked=many)
def test_valid_questions_come_back_as_they_were(tmp_path: Path, suffix: str, asked: list[Question]) -> None:
    before = Questions(asked, name="x")
    path = questions.save(before, tmp_path / f"q{suffix}")
    after = questions.load(path)
    assert list(after) == asked
    assert after.fingerprint == before.fingerprint  # the order of the classes too


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_text_that_a_table_would_read_as_a_chat_is_not_written(tmp_path: Path, suffix: str) -> None:
    asked = Question('{"user": "hello"}', {"yes": ("yes",), "no": ("no",)}, 1, "c", "target", "s")
    with pytest.raises(UsageError, match=r"question 1 .*\.jsonl"):
        questions.save(Questions([asked], name="x"), tmp_path / f"q{suffix}")
    assert list(tmp_path.iterdir()) == []
    assert questions.load(questions.save(Questions([asked], name="x"), tmp_path / "q.jsonl"))[0] == asked


def test_another_extension_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl or \.parquet"):
        questions.save(questions.load("touchstone:honesty"), tmp_path / "q.json")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "yes"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("prompt", "classes", "label", "cluster", "kind", "set")
VALID = Question("a", {"yes": ("yes",), "no": ("no",)}, 1, "c", "target", "s")


def loads_or_says_so(path: Path) -> None:
    """Anything but questions or one sentence (a traceback of another type) fails the test."""
    said = ""
    try:
        assert len(questions.load(path)) > 0
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
    assert said == "" or str(path) in said


@quick
@given(data=st.data())
def test_a_row_with_any_value_in_any_field_is_no_traceback(tmp_path: Path, data: st.DataObject) -> None:
    row = json.loads(questions.save(Questions([VALID], name="x"), tmp_path / "q.jsonl").read_text())
    for field in data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            row[field] = data.draw(json_values)
        else:
            row.pop(field, None)
    (tmp_path / "q.jsonl").write_text(json.dumps(row))
    loads_or_says_so(tmp_path / "q.jsonl")


@quick
@given(cells=st.lists(st.lists(st.text(string.printable, max_size=6), max_size=5), max_size=4))
def test_a_table_with_any_cells_is_no_traceback(tmp_path: Path, cells: list[list[str]]) -> None:
    lines = ["prompt,label,cluster,classes", *(",".join(row) for row in cells)]
    (tmp_path / "q.csv").write_text("\n".join(lines))
    loads_or_says_so(tmp_path / "q.csv")


@pytest.mark.parametrize("suffix", FORMATS)
@quick
@given(content=st.binary(max_size=200))
def test_any_bytes_are_no_traceback(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"q{suffix}").write_bytes(content)
    loads_or_says_so(tmp_path / f"q{suffix}")


@pytest.mark.parametrize("suffix", FORMATS)
@quick
@given(data=st.data())
def test_a_damaged_file_is_no_traceback(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = questions.save(Questions([VALID], name="x"), tmp_path / f"q{suffix}")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    loads_or_says_so(path)
