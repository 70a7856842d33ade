"""An opened model: its blocks found, prompts in, logits out, with whatever edits are active.

What the other files of this room build on; the door for callers is `LM`, which adds what is done with a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.errors import UsageError
from gnomon.lm import prompts
from gnomon.lm.batches import Tokens
from gnomon.lm.blocks import device_of, find_blocks, find_decoder, find_entrances, find_linears, text_config
from gnomon.lm.edits import Editing
from gnomon.lm.prompts import Prompt


class OpenedModel:
    """A causal language model of transformers with its tokenizer, and the map of its residual blocks.

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
