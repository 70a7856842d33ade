"""What a measurement stands on: the opened model, the questions, and the run folder that a killed run resumes in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.bench.measure import contrast_of
from gnomon.bench.settings import Settings
from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.lm import LM
    from gnomon.questions import Questions
    from gnomon.runs import Run


def open_model(settings: Settings) -> LM:
    """The model that the settings name, opened as they say."""
    from gnomon.lm import LM

    how = settings.lm.model_dump(exclude={"quantization"})
    return LM.load(settings.model, quantization_config=_quantization(settings.lm.quantization), **how)


def open_questions(settings: Settings, lm: LM) -> Questions | None:
    """The questions that the settings name, else the touchstone's own, else a packaged set for these words, else None.

    `max_questions` keeps that many clusters of target questions, drawn by seed 0, and all controls.
    """
    import random

    from gnomon import questions as rooms
    from gnomon.questions import Questions

    own = (
        f"touchstone:{lm.touchstone}" if lm.touchstone else rooms.default_for(settings.toward, settings.away)
    )
    source = settings.questions or own
    if source is None:
        return None
    questions = rooms.load(source)
    if settings.max_questions is None:
        return questions
    clusters = sorted({question.cluster for question in questions.targets})
    kept = set(random.Random(0).sample(clusters, min(settings.max_questions, len(clusters))))
    chosen = [q for q in questions if q.kind == "control" or q.cluster in kept]
    return Questions(chosen, name=questions.name, notes=questions.notes)


def open_run(settings: Settings, command: str, models: Sequence[str]) -> Run:
    """The run folder: by its name, or the newest unfinished run of the same settings and files, or a new one."""
    from gnomon.runs import Run, list_runs
    from gnomon.runs.config import fingerprint, resolved

    files = {name: getattr(settings, name) for name in ("questions", "templates", "suffixes")}
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
