"""A method with other settings than its defaults: the fields of its dataclass, checked against their types.

Knows fields and types; knows no method.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
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
        try:
            values[field] = TypeAdapter(types[field], config=finite).validate_python(given)
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"]
            raise UsageError(f"{name}.{field} is {given!r}: {said[0].lower()}{said[1:]}; {listed}") from error
    replaced: Method = dataclasses.replace(own, **values)
    return replaced
