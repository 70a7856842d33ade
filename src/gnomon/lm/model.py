"""`LM`: a causal language model opened for reading and writing.

The class holds the model, the tokenizer and the map of the residual blocks, and is the one door to what the other
files of this room do. It does not know what a dial is made of, nor how one is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gnomon.errors import UsageError
from gnomon.lm import generation, identity, prompts, reading
from gnomon.lm.answers import Answers, Classes, answers
from gnomon.lm.batches import Progress, Tokens, cut, pad
from gnomon.lm.blocks import device_of, find_blocks, find_decoder, find_entrances, find_linears, text_config
from gnomon.lm.edits import Edit, Editing, Steering
from gnomon.lm.generation import Sample
from gnomon.lm.prompts import Prompt


class LM:
    """A causal language model with its tokenizer and a map of its residual blocks.

    Attributes:
        model: The transformers model, in eval mode and otherwise as it was.
        tokenizer: Its tokenizer, never changed.
        name: The id, folder or touchstone it was opened by.
        touchstone: The touchstone's name, or None.
        blocks: The residual blocks; block i's output is the residual stream at block i (0-based).
        entrances: The modules that a forward may enter by, from the whole model in to its decoder.
        n_blocks: How many blocks.
        d_model: The width of the residual stream.
        settings: What `load` was told, and what every "auto" chose with its reason.
        active: The edits of the `with` blocks that are open now, outermost first.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str | None = None,
        blocks: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a model that is already loaded.

        Args:
            model: A causal language model of transformers; it is put into eval mode.
            tokenizer: Its tokenizer.
            name: What to call it; by default the id it was loaded from.
            blocks: The dotted path of its list of blocks, where the search does not find it.
            chat_template_kwargs: Passed on to the chat template (`enable_thinking`).

        Raises:
            UsageError: The blocks cannot be found.
        """
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name or model.config.name_or_path or type(model).__name__
        self.touchstone: str | None = None
        self.blocks = find_blocks(model, blocks)
        self.entrances = find_entrances(model, find_decoder(model))
        self.n_blocks = len(self.blocks)
        self.d_model: int = text_config(model).hidden_size
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.settings: dict[str, Any] = {
            "model": self.name,
            "blocks": blocks,
            "chat_template_kwargs": self.chat_template_kwargs,
        }
        self.active: list[Editing] = []
        on_cpu = self.device.type == "cpu"
        # Larger batches are not faster on a CPU, and smaller ones leave an accelerator idle.
        self.tokens_per_batch = 2048 if on_cpu else 16384
        # Full-vocabulary logits are the largest tensor: 128 MiB of float32 on a CPU, 1 GiB elsewhere.
        self.logits_per_batch = 2**25 if on_cpu else 2**28
        self.settings["tokens_per_batch"] = self.tokens_per_batch

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

    def __repr__(self) -> str:
        return f"LM({self.name!r}, {self.n_blocks} blocks x {self.d_model}, {self.dtype}, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        return device_of(self.model.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the model computes in."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def is_chat(self) -> bool:
        """Whether prompts go through a chat template."""
        return prompts.is_chat(self.tokenizer)

    @property
    def vocabulary(self) -> int:
        """How many logits the head gives per position."""
        size: int = text_config(self.model).vocab_size
        return size

    @property
    def context(self) -> int | None:
        """How many positions the model was made for; None where its config does not say."""
        return getattr(text_config(self.model), "max_position_embeddings", None)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a generated text."""
        named = [self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id]
        flat = [token for ids in named for token in (ids if isinstance(ids, list) else [ids])]
        return frozenset(token for token in flat if token is not None)

    @property
    def rows_per_batch(self) -> int:
        """How many rows of full-vocabulary logits fit."""
        return max(1, self.logits_per_batch // self.vocabulary)

    @cached_property
    def caches_expand(self) -> bool:
        """Whether the model keeps plain keys and values, which a shared beginning can be expanded in."""
        from transformers.cache_utils import DynamicLayer

        return all(isinstance(layer, DynamicLayer) for layer in self.new_cache().layers)

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

    def linears(self) -> dict[str, nn.Module]:
        """All Linears (and Conv1D layers) inside the blocks, by module path."""
        return find_linears(self.model, self.blocks)

    def device_of(self, module: nn.Module) -> torch.device:
        """Where a module computes, also under accelerate's offloading."""
        return device_of(module)

    # -- text to tokens ------------------------------------------------------------------------------------------

    def render(self, prompt: Prompt) -> str:
        """The text that is tokenised: chat template, begun answer, and the prefix of the active edits."""
        return self.texts([prompt])[0]

    def texts(self, prompts_: Sequence[Prompt]) -> list[str]:
        """`render` for several prompts, each with the prefix of its own coefficient.

        Raises:
            UsageError: An active edit has one coefficient per prompt, for another number of prompts.
        """
        if isinstance(prompts_, str | prompts.Chat):
            raise UsageError("A list of prompts was expected, not one prompt: put it into brackets.")
        for editing in self.active:
            if editing.per_prompt and len(editing.alphas) != len(prompts_):
                raise UsageError(
                    f"{len(editing.alphas)} coefficients are active for {len(prompts_)} prompts: give one alpha, or "
                    "one per prompt."
                )
        return [
            prompts.render(
                self.tokenizer,
                prompt,
                prefix=" ".join(text for editing in self.active if (text := editing.prefix(index))),
                template_arguments=self.chat_template_kwargs,
            )
            for index, prompt in enumerate(prompts_)
        ]

    def encode(self, prompts_: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of the rendered prompts, with exactly one BOS where the tokenizer has one.

        Raises:
            UsageError: A prompt is longer than the model's context.
        """
        return self.encode_texts(self.texts(prompts_))

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts that are already rendered; see `encode`."""
        ids = prompts.encode_texts(self.tokenizer, texts)
        longest = max(map(len, ids), default=0)
        if self.context is not None and longest > self.context:
            raise UsageError(
                f"A prompt has {longest} tokens, but the model's context is {self.context}: shorten the prompt."
            )
        return ids

    # -- the forward pass ----------------------------------------------------------------------------------------

    def new_cache(self) -> Any:
        """An empty KV cache of the kind that the model's layers need."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def alphas_of(self, prompt: int) -> tuple[float, ...]:
        """The coefficients that the active edits have for a prompt: rows that agree go into one batch."""
        return tuple(editing.alpha(prompt) for editing in self.active)

    def forward(
        self,
        tokens: Tokens,
        rows: Sequence[int],
        *,
        cache: Any = None,
        keep: int = 1,
    ) -> Float[Tensor, "row position vocabulary"]:
        """Logits at the last `keep` positions of a batch whose rows belong to the prompts `rows`."""
        for editing in self.active:
            editing.rows = rows
        try:
            output = self.model(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                position_ids=tokens.position_ids,
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=keep,
            )
        finally:
            for editing in self.active:
                editing.rows = None
        logits: Tensor = output.logits
        return logits

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
        if isinstance(prompt, str | prompts.Chat):
            return generation.generate(self, [prompt], max_new_tokens, temperature, seed)[0]
        return generation.generate(self, prompt, max_new_tokens, temperature, seed)

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
