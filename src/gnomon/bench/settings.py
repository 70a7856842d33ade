"""Everything that `gnomon steer` and `gnomon bench` can be told: one class feeds flags, files and Python.

Knows no model; importable without torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gnomon.errors import UsageError

VECTOR_METHODS = ("mean-difference", "pca", "probe", "act-add")
PROMPT_METHODS = ("prompting", "engineered-prompting")
TRAINED_METHODS = ("shift", "antipasto", "antipasto-paper", "antipasto-published")
ALL_METHODS = (*PROMPT_METHODS, *VECTOR_METHODS, *TRAINED_METHODS, "random")
LABELLED_METHODS = ("supervised",)
"""Methods that need a file of labelled questions: known by name, and no part of "all"."""
BASELINE_METHODS = (
    *("lora", "dora", "ia3", "vera", "road"),
    *("antipasto-scaling", "antipasto-dpo", "antipasto-ipo"),
)
"""AntiPaSTO's losses with something else trained, or another loss: known by name and as a group, and no part of "all"."""
GROUPS = {"all": ALL_METHODS, "baselines": BASELINE_METHODS}
KNOWN_METHODS = (*ALL_METHODS, *BASELINE_METHODS, *LABELLED_METHODS)
QUICK_METHODS = (*PROMPT_METHODS, *VECTOR_METHODS, "random")
"""What is measured where no method is named: all that need no training."""
STRENGTHS = ("matched", "kl", "native")


class ModelSettings(BaseModel):
    """How a model is opened; every field passes through to `LM.load`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str = Field("auto", description="cpu, cuda, mps, or auto")
    dtype: str = Field("auto", description="float32, bfloat16, float16, or auto")
    revision: str | None = Field(None, description="git revision of a model on the hub")
    adapter: str | None = Field(
        None, description="a PEFT adapter, put on the model before anything is measured"
    )
    device_map: str | None = Field(
        None, description="passed to transformers, for models larger than one device"
    )
    attn_implementation: str | None = Field(None, description="eager, sdpa, flash_attention_2")
    blocks: str | None = Field(
        None, description="path of the list of residual blocks where it is not found by itself"
    )
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="e.g. {enable_thinking: false}")
    quantization: int | None = Field(None, description="8 or 4 bits, with bitsandbytes")

    @field_validator("quantization")
    @classmethod
    def _bits(cls, value: int | None) -> int | None:
        if value not in (None, 4, 8):
            raise ValueError("quantization is 4 or 8 bits")
        return value


class Settings(BaseModel):
    """A measurement: a model, two words, questions, methods, strengths."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("touchstone:honesty", description="a Hugging Face id, a folder, or touchstone:NAME")
    toward: str = Field("honest", description="the word of the +1 side; a touchstone brings its own")
    away: str = Field("dishonest", description="the word of the -1 side; a touchstone brings its own")
    templates: str | None = Field(
        None, description="file of persona templates, one per line: you are {a} {} person"
    )
    suffixes: str | None = Field(None, description="file of statement suffixes, one per line")
    questions: str | None = Field(
        None, description="file (csv, jsonl, parquet) or name of a question set; a touchstone brings its own"
    )
    methods: tuple[str, ...] = Field(
        QUICK_METHODS,
        description=f"methods, by name: {', '.join(ALL_METHODS)}, or all; {', '.join(BASELINE_METHODS)}, or baselines; "
        + ", ".join(LABELLED_METHODS),
    )
    method_settings: dict[str, dict[str, Any]] = Field(
        {},
        description="settings of a method, like shift.steps=200; in a file a table [method_settings.shift]",
    )
    strengths: tuple[str, ...] = Field(STRENGTHS, description="matched, kl, native")
    kl: float = Field(0.25, gt=0, description="KL budget on neutral text, nats")
    sweep: tuple[float, ...] = Field(
        (0.01, 0.03, 0.1, 0.25, 0.5, 1.0), description="KL budgets of the figure, nats"
    )
    seeds: tuple[int, ...] = Field((0,), description="seeds of pairs, splits and methods")
    neutral_samples: int = Field(256, ge=8, description="texts that the KL is measured on")
    max_questions: int | None = Field(None, ge=1, description="at most so many clusters of target questions")
    examples: tuple[str, ...] = Field((), description="further prompts whose continuations the report shows")
    max_new_tokens: int = Field(48, ge=1, description="length of the example continuations, tokens")
    bootstrap: int = Field(2000, ge=100, description="resamples behind an interval")
    lm: ModelSettings = ModelSettings()
    root: str = Field("runs", description="folder that the run folder is made in")
    name: str | None = Field(None, description="name of the run folder; an interrupted one resumes")

    @model_validator(mode="before")
    @classmethod
    def _words_of_the_touchstone(cls, values: Any) -> Any:
        """A touchstone brings its own two words, where no others are given."""
        from gnomon import touchstones

        if not isinstance(values, Mapping):
            return values
        kind, _, name = str(values.get("model", "")).partition(":")
        if kind != "touchstone" or name not in touchstones.names():
            return values
        brought = touchstones.contrast(name)
        return {side: brought[side] for side in ("toward", "away")} | dict(values)

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        methods = tuple(dict.fromkeys(one for name in value for one in GROUPS.get(name, (name,))))
        for name in methods:
            if name not in KNOWN_METHODS:
                raise ValueError(
                    f"there is no method {name!r}; choose from {', '.join((*KNOWN_METHODS, *GROUPS))}"
                )
        if not methods:
            raise ValueError(f"no method is named; choose from {', '.join((*KNOWN_METHODS, *GROUPS))}")
        return methods

    @field_validator("method_settings")
    @classmethod
    def _fit_their_methods(
        cls, value: dict[str, dict[str, Any]], info: ValidationInfo
    ) -> dict[str, dict[str, Any]]:
        """The values as the methods' own fields hold them; only here are the methods, and torch, imported."""
        checked = {}
        for name, settings in value.items():
            if name not in KNOWN_METHODS:
                raise ValueError(f"there is no method {name!r}; choose from {', '.join(KNOWN_METHODS)}")
            if name not in info.data.get("methods", (name,)):
                raise ValueError(
                    f"{name!r} is none of the methods that are measured; add it with --method {name}"
                )
            from gnomon.methods import named

            method = named(name, settings)
            checked[name] = {field: getattr(method, field) for field in settings}
        return checked

    @field_validator("strengths")
    @classmethod
    def _known_strengths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in STRENGTHS:
                raise ValueError(f"there is no strength {name!r}; choose from {', '.join(STRENGTHS)}")
        return value or STRENGTHS

    @field_validator("sweep")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(budget <= 0 for budget in value):
            raise ValueError("the KL budgets of the sweep are positive numbers of nats")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _two_words(self) -> Settings:
        for word, side in ((self.toward, "toward"), (self.away, "away")):
            if not word.strip():
                raise ValueError(f"the {side} word is empty; give a word or a phrase")
        if self.toward.strip().casefold() == self.away.strip().casefold():
            raise ValueError(
                f"the toward and the away word are both {self.toward!r}; give two different words"
            )
        return self

    def quick(self) -> Settings:
        """The same measurement with fewer questions, texts and points: for a first look, with wider intervals."""
        smaller = {
            "sweep": tuple(b for b in self.sweep if b in (0.03, 0.25, 1.0)) or self.sweep[:3],
            "neutral_samples": min(self.neutral_samples, 64),
            "max_questions": min(self.max_questions or 60, 60),
            "bootstrap": min(self.bootstrap, 1000),
        }
        return self.model_copy(update=smaller)


def settings_from(file: str | Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a TOML or YAML file, then flags, which win; `UsageError` names the field that does not fit."""
    values: dict[str, Any] = {} if file is None else _read(Path(file))
    for key, value in (flags or {}).items():
        if value is None:
            continue
        values[key] = _together(values.get(key), value) if isinstance(value, Mapping) else value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise UsageError(_sentence(error, file)) from error


def _together(first: Any, second: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables as one, at every depth; where both name a value, the second one's stands."""
    together = dict(first) if isinstance(first, Mapping) else {}
    for key, value in second.items():
        together[key] = _together(together.get(key), value) if isinstance(value, Mapping) else value
    return together


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {file} cannot be read; give a TOML or YAML file") from error
    import yaml

    if file.suffix not in (".toml", ".yaml", ".yml", ".json"):
        raise UsageError(f"the settings file {file} must end in .toml, .yaml or .json")
    try:
        loaded = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the settings file {file} is not valid: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise UsageError(
            f"the settings file {file} must hold names and values, such as model: touchstone:honesty"
        )
    return loaded


def _sentence(error: ValidationError, file: str | Path | None) -> str:
    """The first problem of a validation error, with the field's name and where it came from."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    where = f" in {file}" if file is not None else ""
    if first["type"] == "extra_forbidden":
        return f"there is no setting {place!r}{where}; gnomon steer --help lists them"
    return f"{place}{where}: {said}" if place else f"{said}{where}"
