"""Where a model's files are: a touchstone, a folder, the local cache, and only then the Hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gnomon.errors import Failure, UsageError

_HUB_SECONDS = 10.0


@dataclass(frozen=True)
class Source:
    """Where a model's files are: a folder or a Hub id, and whether they are all here already."""

    path: str
    here: bool


def find(name: str, revision: str | None, token: str | None) -> Source:
    """Find a model's files, asking the network last.

    Raises:
        UsageError: There is no such model, or it may not be read, or the folder is not a model's.
        Failure: The Hub was needed and could not be reached.
    """
    if name.startswith("touchstone:"):
        from gnomon import touchstones

        return Source(str(touchstones.folder(name.removeprefix("touchstone:"))), here=True)
    if Path(name).is_dir():
        missing = _missing_files(Path(name))
        if missing:
            raise UsageError(f"The folder {name} has no {missing}: give the folder of a saved model.")
        return Source(name, here=True)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).exists():
        raise UsageError(f"There is no model folder {name}.")
    if _is_cached(name, revision):
        return Source(name, here=True)
    _ask_hub(name, revision, token)
    return Source(name, here=False)


def _missing_files(folder: Path) -> str | None:
    """What a folder lacks to be a model's: a config, or (any of) its safetensors weights."""
    if not (folder / "config.json").is_file():
        return "config.json"
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        absent = sorted(shard for shard in shards if not (folder / shard).is_file())
        return absent[0] if absent else None
    return None if any(folder.glob("*.safetensors")) else "safetensors weights"


def _is_cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(name, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return False
    except HFValidationError as error:
        raise UsageError(f"{name!r} is neither a folder nor a possible Hub id.") from error
    return _missing_files(Path(folder)) is None and any(Path(folder).glob("tokenizer*"))


def _ask_hub(name: str, revision: str | None, token: str | None) -> None:
    """Ask once and briefly whether the Hub will give this model, before any download that retries for long."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is there, but not declared
        GatedRepoError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(name, revision=revision, timeout=_HUB_SECONDS, token=token)
        if info.gated:
            HfApi().auth_check(name, token=token)
    except GatedRepoError as error:
        raise UsageError(
            f"The model {name} is gated: accept its terms at https://huggingface.co/{name} and log in with "
            "`hf auth login`, or pass token=."
        ) from error
    except RepositoryNotFoundError as error:
        raise UsageError(
            f"There is no folder and no Hub model {name}: check the spelling, or log in if it is private."
        ) from error
    except RevisionNotFoundError as error:
        raise UsageError(f"The model {name} has no revision {revision!r}.") from error
    except OfflineModeIsEnabled as error:
        raise UsageError(
            f"There is no folder {name}, it is not in the local cache, and HF_HUB_OFFLINE keeps us from the Hub."
        ) from error
    except HTTPError as error:
        raise Failure(
            f"The model {name} is not in the local cache, and the Hub could not be reached: check the network."
        ) from error
    files = [sibling.rfilename for sibling in info.siblings or []]
    if "config.json" not in files or not any(file.endswith(".safetensors") for file in files):
        raise UsageError(f"The Hub repository {name} holds no transformers model with safetensors weights.")
