"""From a prompt to the text and the token ids that the model reads: chat templates, prefilled turns, one BOS.

Knows the tokenizer and nothing of the model's weights. The tokenizer's padding side and pad token are neither
read nor changed: tensors are built in `batches`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gnomon.errors import UsageError


@dataclass(frozen=True)
class Chat:
    """A chat that stops before generation: a user turn, perhaps a system turn, perhaps a begun answer."""

    user: str
    system: str | None = None
    assistant: str = ""


Prompt = str | Chat
"""A str is a user turn on a chat model and plain text on a base model."""


def is_chat(tokenizer: Any) -> bool:
    """Whether the tokenizer brings a chat template."""
    return bool(tokenizer.chat_template)


def render(tokenizer: Any, prompt: Prompt, *, prefix: str = "", template_arguments: Mapping[str, Any]) -> str:
    """The text that is tokenised.

    On a chat model the prefix opens the user turn, with a blank line behind it; on a base model all non-empty
    parts (prefix, system, user, assistant) are joined by one space.

    Raises:
        UsageError: The chat template refuses the chat.
    """
    chat = prompt if isinstance(prompt, Chat) else Chat(prompt)
    if is_chat(tokenizer):
        user = f"{prefix}\n\n{chat.user}" if prefix else chat.user
        return _render_chat(tokenizer, replace(chat, user=user), template_arguments)
    return " ".join(part for part in (prefix, chat.system, chat.user, chat.assistant) if part)


def _render_chat(tokenizer: Any, chat: Chat, arguments: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        text = _apply(tokenizer, chat, arguments)
        if not chat.system or chat.system.strip() in text:
            return text
    except (TemplateError, ValueError) as error:
        if not chat.system:
            raise UsageError(f"The model's chat template refuses this chat: {error}.") from error
    # The template has no system turn: it raised, or it dropped the text.
    return _render_chat(
        tokenizer, replace(chat, system=None, user=f"{chat.system}\n\n{chat.user}"), arguments
    )


def _apply(tokenizer: Any, chat: Chat, arguments: Mapping[str, Any]) -> str:
    turns = (("system", chat.system), ("user", chat.user), ("assistant", chat.assistant))
    messages = [{"role": role, "content": text} for role, text in turns if text or role == "user"]
    text: str = tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=not chat.assistant,
        continue_final_message=bool(chat.assistant),
        **arguments,
    )
    return text


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of rendered texts: exactly one BOS where the tokenizer has one, none where it has none.

    An empty text of a tokenizer without BOS begins at EOS, which separates documents.

    Raises:
        UsageError: A text has no tokens at all.
    """
    if not texts:
        return []
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    encoded = []
    for ids in tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]:
        if bos is not None:
            begin = next((i for i, token in enumerate(ids) if token != bos), len(ids))
            ids = [bos, *ids[begin:]]
        if not ids and eos is None:
            raise UsageError(
                "A prompt is empty, and the model has no token to begin a text with: give a text."
            )
        encoded.append(list(ids) or [eos])
    return encoded
