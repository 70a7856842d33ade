"""Options made from the fields of a settings class: name, type, default, help and environment variable.

A new field of the class is a new option, with nothing to write here. Knows no command.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gnomon.bench.settings import ModelSettings, Settings, settings_from
from gnomon.errors import UsageError

MODEL_PANEL = "How the model is opened"
MEASUREMENT_PANEL = "What is measured"
# Texts that may hold commas and spaces: one per option, one per line of the environment variable.
_TEXTS = frozenset({"examples", "method_settings"})
# Options that are called otherwise than their field, or have a second spelling.
_SPELLINGS = {"methods": ("--methods", "--method"), "method_settings": ("--set",)}
_METAVARS = {"method_settings": "METHOD.SETTING=VALUE"}

Command = Callable[..., None]

Quick = Annotated[
    bool, typer.Option("--quick", help="fewer questions, texts and points: a first look, wider intervals")
]
EstimateOnly = Annotated[
    bool, typer.Option("--estimate", help="say how many forwards, tokens and minutes it takes, and stop")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
Root = Annotated[
    Path, typer.Option("--root", envvar="GNOMON_ROOT", help="folder that the run folders are in")
]


def measuring(command: Command) -> Command:
    """The command, which takes `settings`, with an option for every field of `Settings` and `--config`.

    An option of the command's own takes the place of a field of the same name. An option wins over an environment
    variable, and that over the file.
    """
    own = inspect.signature(command).parameters
    fields = {name: field for name, field in Settings.model_fields.items() if name not in {"lm", *own}}
    config = Annotated[
        Path | None,
        typer.Option(
            "--config", envvar="GNOMON_CONFIG", help="TOML or YAML file with any of the settings below"
        ),
    ]

    def run(config: Path | None, **given: Any) -> None:
        flags = _take(fields, given)
        opening = _take(ModelSettings.model_fields, given)
        if opening:
            flags["lm"] = opening
        if given.get("model"):
            # A command's own --model names several; the first one's settings are the measurement's.
            flags["model"] = given["model"][0]
        command(settings_from(config, flags), **given)

    return _presented(
        run,
        command,
        [
            Parameter("config", Parameter.KEYWORD_ONLY, annotation=config, default=None),
            *_options(fields, MEASUREMENT_PANEL),
            *_options(ModelSettings.model_fields, MODEL_PANEL),
        ],
    )


def opening(command: Command) -> Command:
    """The command, which takes `settings`, with `--model` and an option for every way to open it.

    A `model` option of the command's own takes the place of `--model`, which has to be given.
    """
    own = inspect.signature(command).parameters
    model = Annotated[
        str,
        typer.Option("--model", envvar="GNOMON_MODEL", help=Settings.model_fields["model"].description),
    ]
    made = [] if "model" in own else [Parameter("model", Parameter.KEYWORD_ONLY, annotation=model)]

    def run(**given: Any) -> None:
        flags = _take(ModelSettings.model_fields, given)
        named = {option.name: given.pop(option.name) for option in made}
        command(settings_from(None, {**named, "lm": flags}), **given)

    return _presented(run, command, [*made, *_options(ModelSettings.model_fields, MODEL_PANEL)])


def _presented(run: Command, command: Command, made: Iterable[Parameter]) -> Command:
    """`run` with the name and help of `command`, and with its options before the made ones."""
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    options = [*(option.replace(kind=Parameter.KEYWORD_ONLY) for option in own), *made]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    vars(run)["__signature__"] = inspect.Signature(options)
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _take(fields: Mapping[str, FieldInfo], given: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields from what was given on the command line; those that really were given, as values."""
    values = {name: _value(name, fields[name], given.pop(name)) for name in list(given) if name in fields}
    return {name: value for name, value in values.items() if value is not None}


def _options(fields: Mapping[str, FieldInfo], panel: str) -> list[Parameter]:
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=_annotation(name, field, panel), default=None)
        for name, field in fields.items()
    ]


def _annotation(name: str, field: FieldInfo, panel: str) -> Any:
    kind = _kind(field)
    several = get_origin(kind) is tuple or name in _TEXTS
    item = get_args(kind)[0] if several else kind
    metavar = {int: "INTEGER", float: "NUMBER", dict: "JSON"}.get(get_origin(item) or item, "TEXT")
    option = typer.Option(
        *_SPELLINGS.get(name, (f"--{name.replace('_', '-')}",)),
        help=_help(name, field),
        metavar=_METAVARS.get(name, f"{metavar},..." if several and name not in _TEXTS else metavar),
        rich_help_panel=panel,
        show_default=False,
        show_envvar=False,
        envvar=None if name in _TEXTS else f"GNOMON_{name.upper()}",
    )
    plain = item if item in (int, float, bool) and not several else str
    return Annotated[list[str] | None if several else plain | None, option]


def _kind(field: FieldInfo) -> Any:
    """The type of a field, without its None."""
    if get_origin(field.annotation) is UnionType:
        return next(kind for kind in get_args(field.annotation) if kind is not type(None))
    return field.annotation


def _help(name: str, field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, tuple):
        default = ", ".join(map(str, default))
    description = field.description or name.replace("_", " ")
    text = description if default in (None, "", {}) else f"{description} [default: {default}]"
    return text.replace("[", "\\[")  # or rich would read a style


def _value(name: str, field: FieldInfo, given: Any) -> Any:
    """What was given on the command line as the field wants it; None where nothing was."""
    if name in _TEXTS:
        texts = given or os.environ.get(f"GNOMON_{name.upper()}", "").splitlines()
        return (_assigned(texts) if name == "method_settings" else texts) or None
    if isinstance(given, list):
        items = [item.strip() for text in given for item in text.split(",")]
        return [item for item in items if item] or None
    if given is not None and get_origin(_kind(field)) is dict:
        try:
            return json.loads(given)
        except ValueError as error:
            raise UsageError(
                f"--{name.replace('_', '-')} is not JSON ({error}); write it like '{{\"key\": false}}'"
            ) from error
    return given


def _assigned(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Method -> setting -> value, of texts like shift.steps=200; a value is JSON, or numbers with commas, or a word."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        method, dot, setting = place.strip().partition(".")
        if not (method and dot and setting and equals):
            raise UsageError(f"{text!r} is no setting of a method; write it like --set shift.steps=200")
        found.setdefault(method, {})[setting] = _read(value.strip())
    return found


def _read(value: str) -> Any:
    for text in (value, f"[{value}]"):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return value


def told(model: BaseModel) -> dict[str, Any]:
    """The settings that differ from the defaults, nested ones by their own names."""
    differing: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            differing |= told(value)
        elif value != field.default:
            differing[name] = value
    return differing
