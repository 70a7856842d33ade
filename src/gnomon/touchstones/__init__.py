"""Touchstones: small models whose inner values are known because they were planted, as packaged folders.

This room turns names into folders, cards, contrasts and question files, and checks that the weights are the frozen
ones. It is data only: it does not import torch, does not open a model, and does not know how one was built.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from gnomon.errors import Failure, UsageError

__all__ = ["card", "contrast", "folder", "names", "questions_file", "recipe", "verify"]

_HERE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Names of the packaged touchstones, sorted."""
    return tuple(sorted(path.parent.name for path in _HERE.glob("*/model.safetensors")))


def folder(name: str) -> Path:
    """The Hugging Face folder of a touchstone; it opens with `AutoModelForCausalLM.from_pretrained`.

    Raises:
        UsageError: there is no touchstone of this name.
    """
    if name not in names():
        raise UsageError(f"There is no touchstone {name!r}; choose one of: {', '.join(names())}.")
    return _HERE / name


def card(name: str) -> str:
    """The model card (markdown) with the measured acceptance numbers."""
    return (folder(name) / "README.md").read_text(encoding="utf-8")


def contrast(name: str) -> dict[str, Any]:
    """The contrast that the touchstone brings: `toward` and `away` (words), `templates`, and `suffixes`.

    In a template `{}` is the word and `{a}` its article; the text of one side is template + " " + suffix.
    """
    content: dict[str, Any] = json.loads((folder(name) / "contrast.json").read_text(encoding="utf-8"))
    return content


def questions_file(name: str) -> Path:
    """The held-out questions, one JSON object per line (`prompt`, `classes`, `label`, `cluster`, `kind`, `set`).

    A label of +1 means that the first class is the toward word's answer, -1 that the second is; controls have null.
    """
    return folder(name) / "questions.jsonl"


def recipe(name: str) -> dict[str, Any]:
    """What the touchstone was built from, what was measured on it (`acceptance`), and the `sha256` of its weights."""
    content: dict[str, Any] = json.loads((folder(name) / "recipe.json").read_text(encoding="utf-8"))
    return content


def verify(name: str) -> str:
    """The sha256 of the weights, after checking that it is the frozen one.

    Raises:
        Failure: the weights are not those that were frozen.
    """
    found = hashlib.sha256((folder(name) / "model.safetensors").read_bytes()).hexdigest()
    frozen = recipe(name)["sha256"]
    if found != frozen:
        raise Failure(
            f"The weights of touchstone {name!r} have sha256 {found[:12]} instead of the frozen {frozen[:12]}; "
            f"install gnomon again or build it with `gnomon touchstone build {name}`."
        )
    return found
