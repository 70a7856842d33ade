"""A method with settings of its own: its fields, their types, and what is said where they do not fit."""

from dataclasses import dataclass
from typing import Any

import pytest

from gnomon.errors import UsageError
from gnomon.methods import METHODS, MeanDifference, named
from gnomon.methods.configured import configured


@dataclass(frozen=True)
class Example:
    """A method of no use."""

    steps: int = 100
    rate: float = 0.1
    blocks: tuple[int, int] | None = None
    targets: tuple[int, ...] | None = None
    kind: str = "plain"
    name: str = "example"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError("steps is below 1")

    def fit(self, *given: Any, **named: Any) -> Any:
        raise NotImplementedError


def test_settings_take_the_place_of_fields_with_the_fields_types() -> None:
    method = configured("example", Example(), {"steps": 7, "rate": 1, "blocks": [2, 5]})
    assert method == Example(steps=7, rate=1.0, blocks=(2, 5))
    assert isinstance(method.rate, float)
    assert configured("example", Example(blocks=(0, 1)), {"blocks": None}) == Example()
    assert configured("example", Example(), {"targets": 3}) == Example(targets=(3,))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"step": 7}, "example has no setting 'step'; its settings are steps, rate, blocks, targets, kind"),
        ({"steps": "many"}, "example.steps is 'many': input should be a valid integer"),
        ({"steps": 1.5}, "example.steps is 1.5: "),
        ({"rate": float("nan")}, "example.rate is nan: input should be a finite number"),
        ({"blocks": [1]}, "example.blocks is \\[1\\]: give 2 whole numbers, like 0,2; its settings are"),
        ({"blocks": 1}, "example.blocks is 1: give 2 whole numbers, like 0,2; "),
        ({"targets": "last"}, "example.targets is 'last': give whole numbers, like 0,2; "),
        ({"kind": "plain", "name": "other"}, "no setting 'name'"),
        ({"steps": 0}, "^example.steps is below 1$"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_settings_that_there_are(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        configured("example", Example(), settings)


def test_a_method_without_settings_says_so() -> None:
    class Plain:
        name = "plain"

    with pytest.raises(UsageError, match="plain has no settings; leave steps out"):
        configured("plain", Plain(), {"steps": 1})
    with pytest.raises(UsageError, match="prompting has no setting 'block'; it has none"):
        named("prompting", {"block": 1})


def test_named_gives_the_method_itself_where_nothing_is_set() -> None:
    assert named("mean-difference") is METHODS["mean-difference"]
    assert named("mean-difference", {}) is METHODS["mean-difference"]
    assert named("mean-difference", {"block": 3}) == MeanDifference(block=3)
    assert METHODS["mean-difference"] == MeanDifference()


def test_every_named_method_can_be_given_its_own_settings() -> None:
    from dataclasses import fields

    for name, method in METHODS.items():
        own = {field.name: getattr(method, field.name) for field in fields(method) if field.name != "name"}
        assert named(name, own) == method
