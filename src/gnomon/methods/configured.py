"""A method with other settings than its defaults: the fields of its dataclass, checked against their types.

Knows fields and types; knows no method.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any

from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.methods import Method


def configured(name: str, method: Method, settings: Mapping[str, Any]) -> Method:
    """The method with these settings in place of its own; `name` is what the user calls it.

    Raises:
        UsageError: There is no such setting, or a value does not fit it; the sentence lists the settings.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    own: Any = method
    if not dataclasses.is_dataclass(type(method)):
        raise UsageError(f"{name} has no settings; leave {', '.join(settings)} out")
    # A preset's name is what tables call it, and no setting.
    fields = [field.name for field in dataclasses.fields(own) if field.name != "name"]
    listed = f"its settings are {', '.join(fields)}" if fields else "it has none"
    types = typing.get_type_hints(type(own))
    finite = ConfigDict(allow_inf_nan=False)
    values = {}
    for field, given in settings.items():
        if field not in fields:
            raise UsageError(f"{name} has no setting {field!r}; {listed}")
        several = next((kind for kind in _kinds(types[field]) if typing.get_origin(kind) is tuple), None)
        # One number is a list of one, as it is for every option that takes a list.
        value = [given] if several and isinstance(given, int | float) else given
        try:
            values[field] = TypeAdapter(types[field], config=finite).validate_python(value)
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"]
            said = f"{said[0].lower()}{said[1:]}" if several is None else f"give {_asked(several)}"
            raise UsageError(f"{name}.{field} is {given!r}: {said}; {listed}") from error
    try:
        replaced: Method = dataclasses.replace(own, **values)
    except UsageError as error:
        # A method's own sentence begins with the field.
        raise UsageError(f"{name}.{error}") from error
    return replaced


def _kinds(kind: Any) -> tuple[Any, ...]:
    """The type, or those of a union."""
    return typing.get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _asked(several: Any) -> str:
    """What a tuple's type asks for: `tuple[int, int]` is "2 whole numbers, like 0,2"."""
    items = typing.get_args(several)
    what, like = ("whole numbers", "0,2") if items[0] is int else ("numbers", "0,0.2")
    return f"{what}, like {like}" if ... in items else f"{len(items)} {what}, like {like}"
