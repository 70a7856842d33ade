"""What an export can hold, and what is refused before anything is computed or written. Knows no file format."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.dials.edits import AddVector, LowRank
from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.dials.dial import Dial
    from gnomon.lm import LM


@dataclass(frozen=True)
class Holds:
    """What a format is called, the edits that it can hold, and those in words."""

    what: str
    edits: tuple[type, ...]
    in_words: str


FORMATS = {
    "lora": Holds("a LoRA", (LowRank,), "low-rank edits"),
    "merged": Holds("a merged checkpoint", (LowRank, AddVector), "low-rank edits and vectors"),
    "gguf": Holds("a control vector", (AddVector,), "vectors"),
    "bias": Holds("a bias", (AddVector,), "vectors"),
}


def check(to: str, dial: Dial, folder: str | Path, alphas: Sequence[float], *, inexact: bool = False) -> None:
    """Refuse what cannot be exported, without a model.

    Raises:
        UsageError: there is no such format, it cannot hold the dial, the dial leaves the first token alone and `inexact`
            is not said, the coefficients are none or not finite or 0 or the same, or the folder holds something already.
    """
    if to not in FORMATS:
        raise UsageError(f"there is no export {to!r}; choose from {', '.join(FORMATS)}")
    _check_edits(to, dial)
    if not dial.first_token and not inexact:
        raise UsageError(
            f"the dial {dial.name!r} leaves the first token of a sequence alone and an export acts on every token; say "
            "inexact (--inexact) to export it all the same and be told by how much the logits differ"
        )
    _check_alphas(alphas)
    place = Path(folder)
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UsageError(f"{place} exists already and is not an empty folder; name a new folder")


def check_model(dial: Dial, lm: LM) -> None:
    """Refuse a model that the dial does not fit, or that is not as it was opened.

    Raises:
        UsageError: the dial is for another model, a dial is on the model, or an adapter is wrapped around it.
    """
    from transformers import PreTrainedModel

    if lm.active:
        raise UsageError("a dial is on the model; leave its with block, or detach it, before an export")
    if not isinstance(lm.model, PreTrainedModel):
        raise UsageError(
            f"an export needs a model of transformers, not a {type(lm.model).__name__} around one; merge the adapter first"
        )
    dial.check(lm)
    for edit in dial.edits:
        list(edit.deltas(lm, 1.0))  # says so where a block or a Linear is not there


def need(package: str) -> None:
    """Say which extra to install where a package is missing."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"this export needs the package {package}: install it with pip install 'gnomon[export]'"
        )


def over(lm: LM) -> str:
    """What has to be done to the model before an export fits on it, in words; empty where nothing has."""
    adapter = lm.settings.get("adapter")
    return f" of {lm.name} with the adapter {adapter} merged into it" if adapter else ""


def counted(n: int, what: str) -> str:
    """A number of things in words: 1 Linear, 2 Linears."""
    return f"{n} {what}{'s' * (n != 1)}"


def name_of(alpha: float) -> str:
    """What the export at one coefficient is called inside the folder: alpha+1, alpha-0.5."""
    return f"alpha{alpha:+g}"


def _check_edits(to: str, dial: Dial) -> None:
    holds = FORMATS[to]
    beyond = [edit for edit in dial.edits if not isinstance(edit, holds.edits)]
    if not beyond:
        return
    able = [name for name, other in FORMATS.items() if all(isinstance(e, other.edits) for e in dial.edits)]
    advice = (
        f"choose {', '.join(able)}"
        if able
        else "a prompt changes no weight, so put its text before the prompt instead"
    )
    raise UsageError(
        f"{holds.what} holds {holds.in_words} only and the dial {dial.name!r} has another edit, {beyond[0]}; {advice}"
    )


def _check_alphas(alphas: Sequence[float]) -> None:
    if not alphas:
        raise UsageError("no alpha is given; name one or several, such as 1 and -1")
    for alpha in alphas:
        if not math.isfinite(alpha) or alpha == 0:
            raise UsageError(
                f"alpha cannot be {alpha:g}: it is a finite number, and at 0 the model is the base model itself"
            )
    if len({name_of(alpha) for alpha in alphas}) < len(alphas):
        raise UsageError(f"two of the alphas are the same: {', '.join(f'{a:g}' for a in alphas)}")
