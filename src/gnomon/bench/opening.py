"""What a measurement stands on: the opened model, the questions, and the run folder that a killed run resumes in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.bench.measure import contrast_of
from gnomon.bench.settings import Settings
from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.lm import LM, Prompt
    from gnomon.questions import Questions
    from gnomon.runs import Run


def open_model(settings: Settings) -> LM:
    """The model that the settings name, opened as they say."""
    from gnomon.lm import LM

    how = settings.lm.model_dump(exclude={"quantization"})
    return LM.load(settings.model, quantization_config=_quantization(settings.lm.quantization), **how)


def open_questions(settings: Settings) -> Questions | None:
    """The questions that the settings name, else the touchstone's own, else a packaged set for these words, else None.

    `max_questions` keeps that many clusters of target questions, drawn by seed 0, and all controls.
    """
    import random

    from gnomon import questions as rooms
    from gnomon.questions import Questions

    of_touchstone = settings.model if settings.model.startswith("touchstone:") else None
    source = settings.questions or of_touchstone or rooms.default_for(settings.toward, settings.away)
    if source is None:
        return None
    questions = rooms.load(source)
    if settings.max_questions is None:
        return questions
    clusters = sorted({question.cluster for question in questions.targets})
    kept = set(random.Random(0).sample(clusters, min(settings.max_questions, len(clusters))))
    chosen = [q for q in questions if q.kind == "control" or q.cluster in kept]
    return Questions(chosen, name=questions.name, notes=questions.notes)


def check_packages(settings: Settings) -> None:
    """Before any work: `UsageError` where a method trains an adapter whose package is not installed."""
    from gnomon.methods import AntiPaSTO, Shift, named
    from gnomon.training.kinds import available

    for name in settings.methods:
        method = named(name, settings.method_settings.get(name))
        if isinstance(method, AntiPaSTO | Shift):
            available(method.adapter)


def check_labels(settings: Settings, models: Sequence[str]) -> None:
    """Before any work: refuse training questions of `supervised` that cannot be read, or that a score is made of.

    Raises `UsageError` where no file is named, or where a prompt or a cluster is also one of a model's test questions.
    """
    from gnomon.methods import Supervised, named

    method = named("supervised", settings.method_settings.get("supervised"))
    if "supervised" not in settings.methods or not isinstance(method, Supervised):
        return
    labelled = method.training_questions()
    for model in models:
        asked = open_questions(settings.model_copy(update={"model": model}))
        if asked is not None and (shared := _shared(labelled, asked)) is not None:
            raise UsageError(
                f"{labelled.name} and {asked.name} share {shared}, so supervised would be trained on what it is scored on; "
                "train on other questions"
            )


def _shared(labelled: Questions, asked: Questions) -> str | None:
    """The first prompt or cluster that both hold."""
    prompts = {_text(question.prompt) for question in asked}
    clusters = {question.cluster for question in asked}
    for question in labelled:
        if _text(question.prompt) in prompts:
            return f"the prompt {_text(question.prompt)!r}"
        if question.cluster in clusters:
            return f"the cluster {question.cluster!r}"
    return None


def open_run(settings: Settings, command: str, models: Sequence[str]) -> Run:
    """The run folder: by its name, or the newest unfinished run of the same settings and files, or a new one."""
    from gnomon.runs import Run, list_runs
    from gnomon.runs.config import fingerprint, resolved

    files = {name: getattr(settings, name) for name in ("questions", "templates", "suffixes")}
    if "supervised" in settings.methods:
        files["labels"] = settings.method_settings["supervised"]["questions"]
    config = {
        **settings.model_dump(mode="json"),
        "command": command,
        "models": list(models),
        "files_sha256": {name: _content(path) for name, path in files.items()},
    }
    if settings.name is not None:
        return Run.resume_or_create(config, Path(settings.root) / settings.name)
    same = fingerprint(resolved(config))
    for run in reversed(list_runs(settings.root)):
        if run.fingerprint == same and run.status in ("killed", "failed"):
            return Run.resume_or_create(config, run.folder)
    return Run.create(config, settings.root)


def check_identity(run: Run, stem: str, settings: Settings, lm: LM, questions: Questions | None) -> None:
    """Refuse to go on with a run whose model, questions, templates or suffixes are others than when it began."""
    templates, suffixes = contrast_of(settings).lists(lm)
    now = {
        "architecture": lm.architecture_id,
        "weights": lm.weights_id(),
        "questions": None if questions is None else questions.fingerprint,
        "templates": _sha256("\n".join(templates)),
        "suffixes": _sha256("\n".join(suffixes)),
        "opened": {key: str(value) for key, value in lm.settings.items()},
    }
    began = run.once(f"{stem}/identity", lambda: now)
    changed = [key for key in now if key != "opened" and began[key] != now[key]]
    if changed:
        raise UsageError(
            f"{run.folder} was begun with other {' and '.join(changed)} of {settings.model}; start a new run (--name)"
        )


def _text(prompt: Prompt) -> str:
    """What is asked, whatever stands around it and however it is spaced and capitalised."""
    text = prompt if isinstance(prompt, str) else prompt.user
    return " ".join(text.split()).casefold()


def _content(path: str | None) -> str | None:
    """Checksum of a file's content; None for what is no file."""
    if path is None or not Path(path).is_file():
        return None
    import hashlib

    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _sha256(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _quantization(bits: int | None) -> Any:
    if bits is None:
        return None
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(f"{bits}-bit weights need bitsandbytes: pip install 'gnomon[quantized]'")
    import transformers

    config: Any = transformers.BitsAndBytesConfig
    return config(**{f"load_in_{bits}bit": True})
