"""The Dial: a named tuple of edits and their scale; alpha = +1 toward, -1 away, 0 exactly the base model.

A dial holds tensors and words only. A model belongs to it by a weak reference, and a dial made for another architecture
is refused. Finding a dial is the business of `gnomon.methods`.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.dials.edits import AddVector, LowRank, Prefix, in_words
from gnomon.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.contrast import Contrast, PairStates
    from gnomon.lm import LM, Progress

Edit = AddVector | LowRank | Prefix


@dataclass(frozen=True)
class Scale:
    """How a dial's strength was set: `kind` is native, matched or kl; `factor` multiplies the native scale.

    `reached` is False where the asked strength was out of reach and the dial stands where it got.
    """

    kind: str
    factor: float
    reached: bool = True
    kl: float | None = None
    asked: float | None = None

    def __str__(self) -> str:
        mark = "" if self.reached else " (not reached)"
        return f"{self.kind}, {self.factor:.3g} x native{mark}"


NATIVE = Scale("native", 1.0)


class Attached:
    """A dial that stays on a model until `detach()` is called."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def detach(self) -> None:
        """Take the dial off; the model is the base model again. A second call does nothing."""
        self._stack.close()


@dataclass(frozen=True, eq=False)
class Dial:
    """A direction that can be turned: `edits` and what is known about them.

    `first_token` says whether the sequence's first token, an attention sink, is edited too. `scale` is None for sums.
    """

    edits: tuple[Edit, ...]
    name: str = "dial"
    words: tuple[str, str] | None = None
    first_token: bool = False
    scale: Scale | None = NATIVE
    base_model: str = ""
    architecture_id: str | None = None
    weights_id: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    _lm: weakref.ReferenceType[LM] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.edits:
            raise UsageError("a dial needs at least one edit; give an AddVector, a LowRank or a Prefix")

    @classmethod
    def from_vector(
        cls, vector: Float[Tensor, "d_model"], block: int, *, lm: LM | None = None, name: str = "vector"
    ) -> Dial:
        """A dial that adds alpha * `vector` (`[d_model]`) to the residual stream at the output of `block` (0-based)."""
        dial = cls((AddVector(block, vector),), name=name)
        return dial if lm is None else dial.bound(lm)

    @property
    def modules(self) -> tuple[str, ...]:
        """The paths of the Linears that the dial edits; empty for vectors and prompts."""
        return tuple(edit.module for edit in self.edits if isinstance(edit, LowRank))

    @property
    def is_prompt(self) -> bool:
        """Whether the dial is a prompt and nothing else: it has two positions and no strength."""
        return all(isinstance(edit, Prefix) for edit in self.edits)

    @property
    def in_words(self) -> str:
        """The edits in a line, which stays short however many Linears are edited."""
        return in_words(self.edits)

    def bound(self, lm: LM) -> Dial:
        """The same dial, made for `lm`: records the model's two identities and refers to it weakly."""
        return replace(
            self,
            base_model=lm.name,
            architecture_id=lm.architecture_id,
            weights_id=lm.weights_id(self.modules),
            _lm=weakref.ref(lm),
        )

    def check(self, lm: LM, *, strict: bool = False) -> None:
        """Refuse a model of another architecture; warn (with `strict`, refuse) where the weights are others."""
        if self.architecture_id is not None and self.architecture_id != lm.architecture_id:
            raise UsageError(
                f"the dial {self.name!r} was made for {self.base_model or 'another model'}, whose shapes or tokenizer "
                f"are not those of {lm.name}; open that model or fit a new dial"
            )
        if self._lm is not None and self._lm() is lm:
            return
        if self.weights_id is not None and self.weights_id != lm.weights_id(self.modules):
            sentence = (
                f"the dial {self.name!r} was made for {self.base_model or 'a model'} with other weights than {lm.name}; "
                "its effect and its scale may differ, fit it anew to be sure"
            )
            if strict:
                raise UsageError(sentence)
            warnings.warn(sentence, stacklevel=3)

    def at(
        self, alpha: float | Sequence[float], lm: LM | None = None, *, strict: bool = False
    ) -> AbstractContextManager[Any]:
        """A context in which the model runs with the dial at `alpha`; one coefficient, or one per prompt.

        Without `lm`, the model that the dial was fitted on or bound to.
        """
        model = lm if lm is not None else (self._lm() if self._lm is not None else None)
        if model is None:
            raise UsageError(f"the dial {self.name!r} belongs to no open model; write lm.steer(dial, alpha)")
        self.check(model, strict=strict)
        return model.edited(self.edits, alpha, first_token=self.first_token)

    def attach(self, alpha: float = 1.0, lm: LM | None = None) -> Attached:
        """Put the dial on until `detach()` of the returned handle is called."""
        stack = ExitStack()
        stack.enter_context(self.at(alpha, lm))
        return Attached(stack)

    def rescaled(self, scale: Scale) -> Dial:
        """The dial whose alpha = 1 is this one's alpha = `scale.factor`, with `scale` as its record."""
        return replace(self, edits=tuple(edit.scaled(scale.factor) for edit in self.edits), scale=scale)

    def scaled(
        self,
        lm: LM,
        *,
        kl: float | None = None,
        match: Contrast | PairStates | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Dial:
        """The dial at a strength set without labels: `kl` nats on neutral text, or `match` to the words' own shift.

        Exactly one of the two is given. Source: `docs/steering.md`, fair strength.
        """
        from gnomon.dials.strength import scaled_to_kl, scaled_to_match

        if kl is not None and match is None:
            return scaled_to_kl(self, lm, kl, seed=seed, progress=progress)
        if kl is not None or match is None:
            raise UsageError("give exactly one of kl=0.25 (nats on neutral text) and match=contrast")
        from gnomon.contrast import PairStates, read_pairs

        if not isinstance(match, PairStates):
            match = read_pairs(lm, match.resolve(lm, seed=seed), progress=progress)
        return scaled_to_match(self, lm, match)

    def __mul__(self, factor: float) -> Dial:
        return replace(self, edits=tuple(edit.scaled(float(factor)) for edit in self.edits), scale=None)

    __rmul__ = __mul__

    def __neg__(self) -> Dial:
        words = None if self.words is None else (self.words[1], self.words[0])
        return replace(self * -1.0, words=words, name=f"-{self.name}", scale=self.scale)

    def __add__(self, other: Dial) -> Dial:
        if None not in (self.architecture_id, other.architecture_id) and (
            self.architecture_id != other.architecture_id
        ):
            raise UsageError(
                f"{self.name!r} and {other.name!r} were made for different models and cannot be added"
            )
        if self.first_token != other.first_token:
            raise UsageError(
                f"{self.name!r} and {other.name!r} differ in whether the first token is edited and cannot be added"
            )
        return replace(
            self,
            edits=_merged([*self.edits, *other.edits]),
            name=f"{self.name} + {other.name}",
            words=self.words if self.words == other.words else None,
            scale=None,
            # The identity of the weights covers the edited Linears, and those are others now.
            weights_id=None if self.modules != other.modules else self.weights_id,
            notes={},
            architecture_id=self.architecture_id or other.architecture_id,
            base_model=self.base_model or other.base_model,
            _lm=self._lm or other._lm,
        )

    def __sub__(self, other: Dial) -> Dial:
        return self + (other * -1.0)

    def save(self, folder: str | Path) -> Path:
        """Write the dial as a folder: safetensors, json with a format version, model card."""
        from gnomon.dials.storage import save

        return save(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Dial:
        """Read a dial folder; a truncated, changed or foreign one raises `UsageError`."""
        from gnomon.dials.storage import load

        return load(folder)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the dial's folder to the Hugging Face hub; returns the address of the commit."""
        from gnomon.dials.storage import push_to_hub

        return push_to_hub(self, repo_id, private=private, token=token)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str, *, revision: str | None = None, token: str | None = None
    ) -> Dial:
        """Read a dial from a folder, or from the Hugging Face hub."""
        from gnomon.dials.storage import from_pretrained

        return from_pretrained(name_or_path, revision=revision, token=token)

    def __repr__(self) -> str:
        return f"Dial({self.name!r}, {self.in_words}; scale: {self.scale})"

    def _repr_html_(self) -> str:
        from html import escape

        words = " / ".join(self.words) if self.words else "-"
        rows = {
            "words": words,
            "model": self.base_model or "-",
            "edits": self.in_words,
            "scale": str(self.scale),
            **{key: str(value) for key, value in self.notes.items()},
        }
        body = "".join(
            f"<tr><th scope='row'>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items()
        )
        return f"<table><caption>dial {escape(self.name)}</caption>{body}</table>"


def _merged(edits: list[Edit]) -> tuple[Edit, ...]:
    """Vectors at the same block become one vector: a sum of dials then costs what one dial costs."""
    vectors: dict[int, Tensor] = {}
    others: list[Edit] = []
    for edit in edits:
        if isinstance(edit, AddVector):
            vectors[edit.block] = vectors.get(edit.block, torch.zeros_like(edit.vector)) + edit.vector
        else:
            others.append(edit)
    if sum(isinstance(edit, Prefix) for edit in others) > 1:
        raise UsageError("two prompts cannot be added; join their texts in one Prefix")
    return (*(AddVector(block, vector) for block, vector in sorted(vectors.items())), *others)
