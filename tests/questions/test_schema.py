import subprocess
import sys

import pytest

from gnomon.errors import UsageError
from gnomon.lm import Chat
from gnomon.questions import Question, Questions

YES_NO = {"yes": ("yes", "Yes"), "no": ("no",)}


def question(**changes: object) -> Question:
    fields = {
        "prompt": "Do you tell?",
        "classes": YES_NO,
        "label": 1,
        "cluster": "c",
        "kind": "target",
        "set": "s",
    }
    return Question(**{**fields, **changes})


def test_spellings_are_kept_as_given_and_in_order() -> None:
    kept = question(classes={"B": [" b", "B."], "A": ["a"]}).classes
    assert list(kept.items()) == [("B", (" b", "B.")), ("A", ("a",))]


def test_a_chat_is_a_prompt() -> None:
    assert question(prompt=Chat("Do you tell?", system="Be brief.")).prompt == Chat(
        "Do you tell?", system="Be brief."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": ""}, "prompt is ''; it must not be empty"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": 3}, "prompt is 3"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": Chat("")}, "user"),
        ({"prompt": Chat("a", system=3)}, "system"),
        ({"classes": None}, "classes"),
        ({"classes": {"yes": ("yes",)}}, "1 answer classes"),
        ({"classes": {**YES_NO, "maybe": ("maybe",)}}, "3 answer classes"),
        ({"classes": {"yes": (), "no": ("no",)}}, "'yes' has no spelling"),
        ({"classes": {"yes": "yes", "no": "no"}}, "classes.yes"),
        ({"classes": {"yes": ("",), "no": ("no",)}}, "classes.yes.0"),
        ({"classes": {"": ("yes",), "no": ("no",)}}, "empty"),
        ({"classes": {"yes": ("yes", "no"), "no": ("no",)}}, "'no' is a spelling of both"),
        ({"classes": {"A": ("A",), "a ": ("b",)}}, "different names"),
        ({"classes": {"2": ("2",), "1": ("1",)}}, "wrong order"),
        ({"label": 0}, "label is 0"),
        ({"label": 2}, "label"),
        ({"label": "yes"}, "label"),
        ({"label": True}, "label"),
        ({"label": None}, "a target needs a label"),
        ({"kind": "control"}, "a control has no label"),
        ({"kind": "other"}, "kind"),
        ({"cluster": ""}, "cluster"),
        ({"cluster": 3}, "cluster"),
        ({"set": ""}, "set"),
    ],
)
def test_what_is_no_question_is_refused_in_one_sentence(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        question(**changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_and_controls_are_told_apart() -> None:
    both = Questions(
        [question(), question(kind="control", label=None), question(label=-1)], name="both", notes=("a note",)
    )
    assert [q.label for q in both.targets] == [1, -1]
    assert [q.label for q in both.controls] == [None]
    assert both.targets.name == "both"
    assert both.targets.notes == ("a note",)
    assert both[1:].controls[0] == both[1]
    assert both.prompts == ["Do you tell?"] * 3
    assert both.classes[0] == YES_NO
    assert repr(both) == "Questions('both': 2 targets in 1 clusters, 1 controls)"


def test_the_fingerprint_is_of_the_content_and_its_order() -> None:
    def fingerprint(*questions: Question, name: str = "n") -> str:
        return Questions(questions, name=name).fingerprint

    one, other = question(), question(cluster="d")
    assert fingerprint(one, other) == fingerprint(one, other, name="another name")
    assert len(fingerprint(one)) == 64
    changed = [
        question(prompt="Do you tell"),
        question(prompt=Chat("Do you tell?", system="x")),
        question(classes={"yes": ("yes",), "no": ("no",)}),
        question(classes={"no": ("no",), "yes": ("yes", "Yes")}),
        question(label=-1),
        question(kind="control", label=None),
        question(set="t"),
        other,
    ]
    assert len({fingerprint(q) for q in [one, *changed]}) == 9
    assert fingerprint(one, other) != fingerprint(other, one)


def test_the_room_opens_without_torch() -> None:
    code = (
        "import sys; from gnomon.questions import Question;"
        "Question('a', {'y': ('y',), 'n': ('n',)}, 1, 'c', 'target', 's'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
