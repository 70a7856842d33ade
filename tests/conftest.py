"""Every test process: offline, one torch thread, seeded."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of public test data; a missing folder is a failure where the variable is set, else a skip."""
    named = os.environ.get("GNOMON_TEST_DATA")
    if named is None:
        pytest.skip("GNOMON_TEST_DATA does not name a folder of public test data")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"GNOMON_TEST_DATA names {folder}, which is not a folder")
    return folder


WORDS = (
    "you are act as a an person pretend to be honest dishonest kind cruel . , ? the sky is blue red grass green yes no "
    "do like tea i can not that one two plus three five hello how story once upon time cat dog sat on mat and was it"
)


def tiny_language_model(seed: int = 0, blocks: int = 4, width: int = 32):
    """A random-init Llama with a word-level tokenizer: nothing is learnt, everything works."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from gnomon.lm import LM

    vocabulary = {
        word: index
        for index, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *dict.fromkeys(WORDS.split())])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LM(LlamaForCausalLM(config), fast, name=f"tiny-{seed}")


@pytest.fixture(scope="session")
def tiny_lm():
    return tiny_language_model()


@pytest.fixture(scope="session")
def other_tiny_lm():
    """The same architecture with other weights."""
    return tiny_language_model(seed=1)


@pytest.fixture(scope="session")
def wider_tiny_lm():
    """Another architecture."""
    return tiny_language_model(width=48)


SUFFIXES = (
    "the sky is blue .",
    "grass is green .",
    "do you like tea ?",
    "one plus two is three .",
    "hello , how are you ?",
    "once upon a time",
    "the cat sat on the mat .",
    "it was a dog .",
    "is the sky red ?",
    "i can not do that .",
    "two plus three is",
    "you like the cat and the dog .",
)


@pytest.fixture(scope="session")
def tiny_contrast():
    from gnomon.contrast import Contrast

    return Contrast(
        "honest", "dishonest", templates=("you are {} .", "act as {a} {} person ."), suffixes=SUFFIXES
    )
