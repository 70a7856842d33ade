"""`LM`: a causal language model opened for reading and writing.

The one door to what the other files of this room do. It does not know what a dial is made of, nor how one is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gnomon.lm import generation, identity, reading
from gnomon.lm.answers import Answers, Classes, answers, refusal_mass
from gnomon.lm.batches import Progress, cut, pad
from gnomon.lm.edits import Edit, Editing, Steering
from gnomon.lm.generation import Sample
from gnomon.lm.opened import OpenedModel
from gnomon.lm.prompts import Chat, Prompt


class LM(OpenedModel):
    """A causal language model, opened by `LM.load(name)` or from a model that is already there: `LM(model, tokenizer)`.

    Its attributes are those of `OpenedModel`: `model`, `tokenizer`, `blocks`, `n_blocks`, `d_model`, `settings`, ...
    """

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        device: str = "auto",
        dtype: str | torch.dtype = "auto",
        adapter: str | Path | None = None,
        device_map: str | Mapping[str, Any] | None = None,
        revision: str | None = None,
        attn_implementation: str | None = None,
        quantization_config: Any = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        blocks: str | None = None,
        token: str | None = None,
    ) -> LM:
        """Open a model by its Hub id, its folder, or "touchstone:NAME".

        Args:
            name_or_path: A Hub id, a folder, or "touchstone:NAME". The local cache is looked at before the network.
            device: "auto" (cuda, else mps, else cpu) or a torch device.
            dtype: "auto" (as saved on an accelerator, float32 on a CPU), or a torch dtype or its name.
            adapter: A PEFT adapter (folder or id) that is merged into the weights.
            device_map: accelerate's placement over several devices; takes the place of `device`.
            revision: A branch, tag or commit on the Hub.
            attn_implementation: Passed on to transformers.
            quantization_config: Passed on to transformers.
            chat_template_kwargs: Passed on to the chat template (`enable_thinking`).
            blocks: The dotted path of the list of blocks, where the search does not find it.
            token: A Hub token; never recorded.

        Raises:
            UsageError: There is no such model or it cannot be opened as asked; the message says what to do.
            Failure: The network or the weights' file failed.
        """
        from gnomon.lm.loading import load

        model, tokenizer, found = load(
            str(name_or_path),
            device=device,
            dtype=dtype,
            adapter=None if adapter is None else str(adapter),
            device_map=device_map,
            revision=revision,
            attn_implementation=attn_implementation,
            quantization_config=quantization_config,
            token=token,
        )
        lm = cls(
            model, tokenizer, name=str(name_or_path), blocks=blocks, chat_template_kwargs=chat_template_kwargs
        )
        lm.settings |= found
        scheme, _, touchstone = str(name_or_path).partition(":")
        lm.touchstone = touchstone if scheme == "touchstone" else None
        return lm

    @cached_property
    def architecture_id(self) -> str:
        """sha256 of the model's shapes and its tokenizer's vocabulary; a dial fits models that agree in it."""
        return identity.architecture_id(self)

    def weights_id(self, modules: Sequence[str] = ()) -> str:
        """sha256 of sampled rows of the named Linears (of all, if none is named); reads no more than those.

        Raises:
            UsageError: There is no Linear of that name.
        """
        return identity.weights_id(self, modules)

    # -- editing -------------------------------------------------------------------------------------------------

    @contextmanager
    def edited(
        self, edits: Sequence[Edit], alpha: float | Sequence[float], *, first_token: bool = False
    ) -> Iterator[None]:
        """Within the block, every forward of the model runs with the edits at this coefficient.

        They act on every real position, prompt and generated, never on padding; contexts nest and add up. A
        caller's own `lm.model(...)` and `lm.model.generate(...)` are edited too (without an attention mask,
        every position counts as real), except for a prefix, which is text: take the ids from `encode`.

        Args:
            edits: What to change.
            alpha: One coefficient, or one per prompt in the order of the prompts (per row of a caller's own batch).
            first_token: Whether the edits act on each sequence's first real token.

        Raises:
            UsageError: The coefficients are not finite, or (in a forward) do not match the rows.
        """
        editing = Editing(self, edits, alpha, first_token)
        try:
            editing.attach()
            self.active.append(editing)
            yield
        finally:
            editing.detach()
            self.active = [other for other in self.active if other is not editing]

    @contextmanager
    def steer(self, dial: Steering, alpha: float | Sequence[float]) -> Iterator[None]:
        """`edited` with a dial's edits; see there."""
        with self.edited(dial.edits, alpha, first_token=dial.first_token):
            yield

    # -- reading -------------------------------------------------------------------------------------------------

    def residuals(
        self,
        prompts_: Sequence[Prompt],
        *,
        blocks: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Float[Tensor, "prompt block d_model"]:
        """The residual stream at each prompt's last real token, float32 on the CPU.

        Args:
            prompts_: The prompts.
            blocks: Which blocks' outputs to read, 0-based; all of them by default. The forward stops after the
                last one.
            progress: Called after every batch with the number of prompts done and in all.

        Raises:
            UsageError: There is no such block.
        """
        return reading.residuals(self, prompts_, blocks, progress)

    def answers(
        self,
        prompts_: Sequence[Prompt],
        classes: Classes | Sequence[Classes],
        *,
        progress: Progress | None = None,
    ) -> Answers:
        """The log-probability of two answer classes after each prompt; see `Answers`.

        Args:
            prompts_: The prompts.
            classes: Class name -> spellings, two classes; one for all prompts, or one per prompt.
            progress: Called after every batch with the number of prompts done and in all.

        Raises:
            UsageError: A spelling begins another class's spelling, or has no tokens of its own in its context.
        """
        return answers(self, prompts_, classes, progress)

    def refusal_mass(self, prompts_: Sequence[Prompt]) -> Float[np.ndarray, "prompt"]:
        """The probability that each prompt is followed by a refusal; NaN where no opening fits the vocabulary."""
        return refusal_mass(self, prompts_)

    def answers_at(
        self,
        prompts_: Sequence[Prompt],
        classes: Classes | Sequence[Classes],
        dial: Steering,
        alphas: Sequence[float],
        *,
        progress: Progress | None = None,
    ) -> list[Answers]:
        """`answers` at several coefficients of a dial, in one batched pass; one `Answers` per coefficient."""
        n = len(prompts_)
        per_prompt = [classes] * n if isinstance(classes, Mapping) else list(classes)
        with self.steer(dial, [alpha for alpha in alphas for _ in range(n)]):
            together = self.answers(list(prompts_) * len(alphas), per_prompt * len(alphas), progress=progress)
        return [together[i * n : (i + 1) * n] for i in range(len(alphas))]

    def sample_batches(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        """Samples in batches for `next_log_probs`, of bounded memory and the same whichever edits are active."""
        lengths = [len(sample.tokens) for sample in samples]
        order = sorted(range(len(samples)), key=lengths.__getitem__)
        budget = max(1, self.logits_per_batch // self.vocabulary)
        return [[samples[i] for i in run] for run in cut(lengths, order, budget, len(samples))]

    @torch.no_grad()
    def next_log_probs(
        self, samples: Sequence[Sample]
    ) -> tuple[Float[Tensor, "sample position vocabulary"], Bool[Tensor, "sample position"]]:
        """What the model would say after each of the samples' own tokens: natural-log probabilities, float32.

        A sample is read behind its prompt and the prefix of the active edits; only its own tokens' positions are
        returned, and the mask is True there. All samples go through the model at once: take them from
        `sample_batches`.
        """
        beginnings = self.encode([sample.prompt for sample in samples])
        ids = [[*ids, *sample.tokens] for ids, sample in zip(beginnings, samples, strict=True)]
        longest = max(len(sample.tokens) for sample in samples)
        tokens = pad(ids, self.device, side="left")
        logits = self.forward(tokens, range(len(samples)), keep=longest)
        own = torch.tensor(
            [[i >= longest - len(sample.tokens) for i in range(longest)] for sample in samples]
        )
        return logits.float().log_softmax(dim=-1), own.to(logits.device)

    # -- writing -------------------------------------------------------------------------------------------------

    @overload
    def generate(  # type: ignore[overload-overlap]  # a str is a sequence of str, and means one prompt
        self, prompt: Prompt, *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> str: ...
    @overload
    def generate(
        self, prompt: Sequence[Prompt], *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> list[str]: ...
    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> str | list[str]:
        """Continue one prompt or several, until an end token, `max_new_tokens` or the end of the context.

        Args:
            prompt: One prompt (returns a str), or a list of them (returns a list).
            max_new_tokens: How long a continuation may get.
            temperature: 0 takes the likeliest token; otherwise tokens are sampled.
            seed: A prompt's random numbers depend on it and on the prompt's place in the list.

        Returns:
            The continuation, without the prompt and without special tokens.
        """
        if isinstance(prompt, str | Chat):
            return generation.generate(self, [prompt], max_new_tokens, temperature, seed)[0]
        return generation.generate(self, prompt, max_new_tokens, temperature, seed)

    def continuations(
        self, prompts: Sequence[Prompt], *, max_new_tokens: int, temperature: float = 1.0, seed: int = 0
    ) -> list[list[int]]:
        """As `generate`, but the token ids, without the end token: `encode(prompt)` and they are one sequence."""
        return generation.continuations(self, prompts, max_new_tokens, temperature, seed)

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[str]:
        """The same text as `generate` for one prompt, piece by piece, never with a broken character."""
        return generation.stream(self, prompt, max_new_tokens, temperature, seed)

    def sample_neutral(self, n: int = 256, *, max_tokens: int = 64, seed: int = 0) -> list[Sample]:
        """Neutral text: what the model itself says at temperature 1, at least 8 and at most `max_tokens` tokens.

        A base model starts from BOS (from EOS where it has no BOS, from a line of small talk where it has
        neither); a chat model answers packaged lines of small talk.
        """
        return generation.sample_neutral(self, n, max_tokens, seed)
