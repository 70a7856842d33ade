"""A model folder with questions, templates and suffixes, small enough to be measured in seconds."""

import json
from pathlib import Path

import pytest

PLACES = ("sky", "grass", "cat", "dog", "mat", "tea", "story", "time")


@pytest.fixture(scope="session")
def bench_files(tiny_lm, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bench")
    tiny_lm.model.save_pretrained(folder / "model")
    tiny_lm.tokenizer.save_pretrained(folder / "model")
    colours = ("blue", "red", "green")
    rows = []
    for place in PLACES:
        for colour in colours:
            for deed, label in (("like", 1), ("sat", -1)):
                prompt = f"is the {place} {colour} and do you {deed} that ?"
                rows.append(
                    {
                        "prompt": prompt,
                        "label": label,
                        "cluster": f"{place} {colour}",
                        "kind": "target",
                        "set": "t",
                    }
                )
    numbers = ("one", "two", "three", "five")
    for a in numbers:
        for b in numbers:
            prompt = f"is {a} plus {b} five ?"
            rows.append(
                {"prompt": prompt, "label": None, "cluster": prompt, "kind": "control", "set": "arithmetic"}
            )
    classes = {"yes": ["yes"], "no": ["no"]}
    (folder / "questions.jsonl").write_text(
        "".join(json.dumps({**row, "classes": classes}) + "\n" for row in rows)
    )
    (folder / "templates.txt").write_text("you are {} .\nact as {a} {} person .\n")
    suffixes = [f"the {place} is {colour} ." for place in PLACES for colour in colours]
    (folder / "suffixes.txt").write_text("\n".join(suffixes) + "\n")
    return {
        "model": str(folder / "model"),
        "questions": str(folder / "questions.jsonl"),
        "templates": str(folder / "templates.txt"),
        "suffixes": str(folder / "suffixes.txt"),
    }


@pytest.fixture
def small_settings(bench_files, tmp_path: Path):
    from gnomon.bench import Settings

    return Settings(
        **bench_files,
        methods=("prompting", "mean-difference", "random"),
        sweep=(0.1,),
        neutral_samples=8,
        bootstrap=200,
        max_new_tokens=4,
        root=str(tmp_path / "runs"),
    )
