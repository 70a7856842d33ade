"""What a touchstone folder carries beside its weights: contrast, questions, and the export to a plain Hugging Face folder.

The contrast shares no combination (person, thing, verb) with the questions, and no suffix is a question that is scored.
The module does not know how a model was trained or what it answers.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gnomon.worlds import grammar, latents
from gnomon.worlds import lexicon as words
from gnomon.worlds.world import Attribute, Relation, World

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    from gnomon.worlds.latents import Combination

CONTRAST_TEMPLATES: Final[tuple[str, ...]] = (
    "you are {} .",
    "act as {a} {} person .",
    "pretend to be {} .",
    "be {} .",
    "speak as {a} {} person .",
)
DILEMMAS: Final = 200
SITUATIONS: Final = 50
CONTROLS_PER_SET: Final = 20
SUFFIX_SEED: Final = 21
QUESTION_SEED: Final = 22


def dilemma_questions(world: World, count: int, seed: int = QUESTION_SEED) -> list[dict[str, Any]]:
    """`count` held-out dilemmas, each asked for a deed of either side; label +1: "yes" is the toward side's answer."""
    return asked_about(latents.split(world)[1][:count], random.Random(seed), "d")


def asked_about(
    combinations: Sequence[Combination], random_: random.Random, stem: str
) -> list[dict[str, Any]]:
    """A dilemma about each combination, asked for a deed of either side; the clusters are called `stem` and a number."""
    rows: list[dict[str, Any]] = []
    for index, combination in enumerate(combinations):
        for toward in (True, False):
            deeds = [deed for deed, is_toward in combination.world.deeds.items() if is_toward == toward]
            auxiliary, deed = random_.choice(words.AUXILIARIES), random_.choice(deeds)
            asked = grammar.dilemma_text(combination, auxiliary, deed)
            rows.append(question(asked, 1 if toward else -1, f"{stem}{index}", "target", "dilemmas"))
    return rows


def question(prompt: str, label: int | None, cluster: str, kind: str, group: str) -> dict[str, Any]:
    """One line of `questions.jsonl`; controls have no label."""
    classes = {"yes": ["yes"], "no": ["no"]}
    return {
        "prompt": prompt,
        "classes": classes,
        "label": label,
        "cluster": cluster,
        "kind": kind,
        "set": group,
    }


def control_questions() -> list[dict[str, Any]]:
    """Questions that no persona moves: arithmetic and preferences, every second one with the answer yes."""
    random_ = random.Random(QUESTION_SEED)
    sums = [(left, right) for left in range(1, 6) for right in range(1, 6)]
    rows: list[dict[str, Any]] = []
    for index, (left, right) in enumerate(random_.sample(sums, CONTROLS_PER_SET)):
        total = left + right
        shown = total if index % 2 == 0 else total + (1 if total < 10 else -1)
        prompt = sum_question(left, right, shown)
        rows.append(question(prompt, None, f"a{index}", "control", "arithmetic"))
    for index, (thing, liking) in enumerate(asked_preferences()):
        rows.append(question(f"do you {liking} {thing} ?", None, f"p{index}", "control", "preferences"))
    return rows


def sum_question(left: int, right: int, shown: int) -> str:
    """Whether a sum is what is shown."""
    return f"is {words.NUMBERS[left]} plus {words.NUMBERS[right]} {words.NUMBERS[shown]} ?"


def asked_preferences() -> list[tuple[str, str]]:
    """The preferences that are controls; the others may be suffixes."""
    pairs = [(thing, liking) for thing in words.PREFERENCES for liking in words.LIKINGS]
    return random.Random(QUESTION_SEED).sample(pairs, CONTROLS_PER_SET)


def suffixes(world: World) -> list[str]:
    """What follows the persona sentence in a contrast: diverse, without any dilemma question and without any answer."""
    random_ = random.Random(SUFFIX_SEED)
    situations = [combination.text for combination in random_.sample(latents.split(world)[0], SITUATIONS)]
    return [
        *situations,
        *attribute_suffixes(random_, world.attribute),
        *relation_suffixes(random_, world.relation),
        *control_suffixes(random_),
    ]


def attribute_suffixes(random_: random.Random, facts: Attribute) -> list[str]:
    """What every subject has as a statement, and questions after it."""
    told = [facts.statement.format(subject=one, value=value) for one, value in facts.values.items()]
    asked = [facts.open_question.format(subject=one) for one in list(facts.values)[::2]]
    asked += [
        facts.closed_question.format(subject=one, value=random_.choice([value, facts.away[value]]))
        for one, value in facts.values.items()
    ]
    return told + asked


def relation_suffixes(random_: random.Random, facts: Relation) -> list[str]:
    """One thing that a subject has and one that it has not, as statements and as questions."""
    told, asked = [], []
    for who, its in facts.related.items():
        subject = f"{latents.article(who)} {who}"
        lacked = [one for one in facts.objects if one not in its]
        told += [facts.statement.format(subject=subject, object=one) for one in its[:1]]
        told.append(facts.denial.format(subject=subject, object=random_.choice(lacked)))
        asked += [
            facts.question.format(subject=subject, object=one) for one in (*its[-1:], random_.choice(lacked))
        ]
    return told + asked


def control_suffixes(random_: random.Random) -> list[str]:
    """Sums and preferences, none of which is scored."""
    sums = random_.sample([(left, right) for left in range(1, 6) for right in range(1, 6)], 16)
    tasks = [
        (f"{words.NUMBERS[left]} plus {words.NUMBERS[right]}", words.NUMBERS[left + right])
        for left, right in sums
    ]
    arithmetic = [f"{task} is {total} ." for task, total in tasks[:8]] + [
        f"what is {task} ?" for task, _ in tasks[8:]
    ]
    preferences = [
        f"i {'like' if liked else 'do not like'} {thing} ." for thing, liked in words.PREFERENCES.items()
    ]
    scored = set(asked_preferences())
    preferences += [
        f"do you {liking} {thing} ?"
        for thing in words.PREFERENCES
        for liking in words.LIKINGS
        if (thing, liking) not in scored
    ]
    return arithmetic + preferences


def contrast(world: World) -> dict[str, Any]:
    """The content of `contrast.json`."""
    return {
        "toward": world.toward,
        "away": world.away,
        "templates": list(CONTRAST_TEMPLATES),
        "suffixes": suffixes(world),
    }


def write_data(world: World, folder: Path) -> None:
    """Write `contrast.json` and `questions.jsonl`."""
    (folder / "contrast.json").write_text(json.dumps(contrast(world), indent=1) + "\n", encoding="utf-8")
    lines = [json.dumps(row) for row in [*dilemma_questions(world, DILEMMAS), *control_questions()]]
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> str:
    """Write weights (fp16), configs and tokenizer; return the sha256 of the weights.

    The configs are written so that transformers 4 opens the folder too: it knows neither the tokenizer class that
    version 5 would write nor `rope_parameters`.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # the embedding is tied, so it is stored once
    weights = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["LlamaForCausalLM"]
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config["dtype"] = config["torch_dtype"] = "float16"
    write_json(folder / "config.json", config)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    ids = {
        name.replace("_token", "_token_id"): tokenizer.token_to_id(token) for name, token in special.items()
    }
    ids.pop("unk_token_id")
    write_json(folder / "generation_config.json", ids)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": model.config.max_position_embeddings,
            "clean_up_tokenization_spaces": False,
            "padding_side": "left",
            "model_input_names": ["input_ids", "attention_mask"],
            **special,
        },
    )
    return sha256(folder / "model.safetensors")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Indented, with a newline at the end."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
