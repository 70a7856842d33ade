"""Dials on disk and on the hub: a folder with safetensors, a json with a format version, and a model card.

Every file is checked by its sha256 when it is read; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from gnomon.dials.cores import FreeCore, RotationCore
from gnomon.dials.dial import Dial, Edit, Scale
from gnomon.dials.edits import AddVector, LowRank, Prefix
from gnomon.errors import Failure, UsageError

FORMAT_VERSION = 1
TENSORS = "dial.safetensors"
DESCRIPTION = "dial.json"
CARD = "README.md"


class _Description(BaseModel):
    """What `dial.json` holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format_version: int
    name: str
    words: list[str] | None
    first_token: bool
    scale: dict[str, Any] | None
    base_model: str
    architecture_id: str | None
    weights_id: str | None
    edits: list[dict[str, Any]]
    notes: dict[str, Any]
    tensors_sha256: str
    description_sha256: str = ""

    def digest(self) -> str:
        """Checksum of everything but the checksum itself."""
        content = self.model_dump(exclude={"description_sha256"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save(dial: Dial, folder: str | Path) -> Path:
    """Write the dial's folder; files are written under other names and renamed, so a kill leaves the old or the new."""
    from safetensors.torch import save as tensor_bytes

    place = Path(folder)
    tensors: dict[str, Tensor] = {}
    edits = [_describe(index, edit, tensors) for index, edit in enumerate(dial.edits)]
    content = tensor_bytes({name: value.contiguous() for name, value in tensors.items()})
    description = _Description(
        format_version=FORMAT_VERSION,
        name=dial.name,
        words=None if dial.words is None else list(dial.words),
        first_token=dial.first_token,
        scale=None if dial.scale is None else dict(vars(dial.scale)),
        base_model=dial.base_model,
        architecture_id=dial.architecture_id,
        weights_id=dial.weights_id,
        edits=edits,
        notes=_jsonable(dial.notes),
        tensors_sha256=hashlib.sha256(content).hexdigest(),
    )
    description.description_sha256 = description.digest()
    try:
        place.mkdir(parents=True, exist_ok=True)
        _write(place / TENSORS, content)
        _write(place / CARD, _card(dial).encode())
        _write(place / DESCRIPTION, (json.dumps(description.model_dump(), indent=2) + "\n").encode())
    except OSError as error:
        raise Failure(
            f"the dial could not be written to {place} ({error.strerror}); free space or name another folder"
        ) from error
    return place


def load(folder: str | Path) -> Dial:
    """Read a dial's folder; `UsageError` says in one sentence what is wrong with a damaged or foreign one."""
    place = Path(folder)
    if not (place / DESCRIPTION).is_file():
        raise UsageError(
            f"{place} holds no dial ({DESCRIPTION} is missing); give a folder that Dial.save wrote"
        )
    try:
        raw = json.loads((place / DESCRIPTION).read_bytes())
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION and isinstance(version, int):
            raise UsageError(
                f"the dial in {place} has format version {version} and this gnomon reads {FORMAT_VERSION}; update gnomon"
            )
        description = _Description.model_validate(raw)
        content = (place / TENSORS).read_bytes()
    except (ValueError, ValidationError, OSError) as error:
        raise UsageError(f"the dial in {place} is damaged or incomplete; copy or fit it again") from error
    if (
        description.digest() != description.description_sha256
        or hashlib.sha256(content).hexdigest() != description.tensors_sha256
    ):
        raise UsageError(f"the dial in {place} is damaged (its checksum does not fit); copy or fit it again")
    from safetensors.torch import load as tensors_from

    tensors = tensors_from(content)
    try:
        edits = tuple(_restore(index, spec, tensors) for index, spec in enumerate(description.edits))
        scale = None if description.scale is None else Scale(**description.scale)
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"the dial in {place} names an edit that this gnomon does not know; update gnomon"
        ) from error
    return Dial(
        edits=edits,
        name=description.name,
        words=None if description.words is None else (description.words[0], description.words[1]),
        first_token=description.first_token,
        scale=scale,
        base_model=description.base_model,
        architecture_id=description.architecture_id,
        weights_id=description.weights_id,
        notes=description.notes,
    )


def push_to_hub(dial: Dial, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload the dial's folder as a model repository; returns the address of the commit."""
    import tempfile

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with tempfile.TemporaryDirectory() as scratch:
        save(dial, scratch)
        api = HfApi(token=token)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            return str(
                api.upload_folder(repo_id=repo_id, folder_path=scratch, commit_message=f"dial {dial.name}")
            )
        except (HfHubHTTPError, OSError) as error:
            raise Failure(
                f"{repo_id} could not be written on the hub; check the network, the name and the token"
            ) from error


def from_pretrained(name_or_path: str, *, revision: str | None = None, token: str | None = None) -> Dial:
    """Read a dial from a local folder or, where there is none, from the hub (the local cache first)."""
    if Path(name_or_path).is_dir():
        return load(name_or_path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = [TENSORS, DESCRIPTION, CARD]
    try:
        folder = snapshot_download(name_or_path, revision=revision, token=token, allow_patterns=files)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UsageError(
            f"no dial {name_or_path!r}: it is no folder here and could not be read from the hub; check name and network"
        ) from error
    return load(folder)


def _describe(index: int, edit: Edit, tensors: dict[str, Tensor]) -> dict[str, Any]:
    def keep(**named: Tensor) -> None:
        tensors.update(
            {f"edits.{index}.{name}": value.detach().float().cpu().clone() for name, value in named.items()}
        )

    if isinstance(edit, AddVector):
        keep(vector=edit.vector)
        return {"kind": "AddVector", "block": edit.block}
    if isinstance(edit, Prefix):
        return {"kind": "Prefix", "toward": edit.toward, "away": edit.away}
    keep(U=edit.U, V=edit.V)
    if isinstance(edit.core, FreeCore):
        keep(K=edit.core.K)
        return {"kind": "LowRank", "module": edit.module, "core": "free"}
    keep(S=edit.core.S, dS=edit.core.dS, A=edit.core.A)
    return {"kind": "LowRank", "module": edit.module, "core": "rotation", "gain": edit.core.gain}


def _restore(index: int, spec: dict[str, Any], tensors: dict[str, Tensor]) -> Edit:
    def kept(name: str) -> Tensor:
        return tensors[f"edits.{index}.{name}"].to(torch.float32)

    if spec["kind"] == "AddVector":
        return AddVector(int(spec["block"]), kept("vector"))
    if spec["kind"] == "Prefix":
        return Prefix(spec["toward"], spec["away"])
    if spec["kind"] == "LowRank" and spec["core"] == "free":
        return LowRank(spec["module"], kept("U"), kept("V"), FreeCore(kept("K")))
    if spec["kind"] == "LowRank" and spec["core"] == "rotation":
        core = RotationCore(kept("S"), kept("dS"), kept("A"), float(spec["gain"]))
        return LowRank(spec["module"], kept("U"), kept("V"), core)
    raise KeyError(spec["kind"])


def _card(dial: Dial) -> str:
    """The model card: base model, words, scale, scores."""
    tag = f"base_model: {dial.base_model}\n" if dial.base_model and ":" not in dial.base_model else ""
    words = (
        f"from *{dial.words[1]}* (-1) to *{dial.words[0]}* (+1)" if dial.words else "without recorded words"
    )
    notes = "".join(f"- {key}: {value}\n" for key, value in dial.notes.items())
    return (
        f"---\n{tag}library_name: gnomon\ntags: [steering, gnomon-dial]\n---\n\n# {dial.name}\n\n"
        f"A gnomon dial {words}, for `{dial.base_model or 'an unrecorded model'}`.\n\n"
        f"- edits: {dial.in_words}\n- scale: {dial.scale}\n{notes}\n"
        "```\nfrom gnomon import LM, Dial\n\n"
        f'lm = LM.load("{dial.base_model}")\n'
        'with lm.steer(Dial.from_pretrained("this folder"), +1):\n    print(lm.generate("..."))\n```\n'
    )


def _jsonable(notes: dict[str, Any]) -> dict[str, Any]:
    """Notes as json keeps them, so that a dial read back has the same ones; not-a-number becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value if isinstance(value, str | int | float | bool) or value is None else str(value)

    return {str(key): plain(value) for key, value in notes.items()}


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
