"""A run's resolved config: what identifies it, how two configs differ, and under which versions it ran."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gnomon.runs import storage

COSMETIC = frozenset({"name", "title", "root", "folder", "quiet"})
"""Top-level keys that change no result: two configs that differ only in them are the same run."""

SECRET = frozenset({"token"})
"""Keys that are never written down, at any depth."""

PACKAGES = ("gnomon", "torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "pandas")


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as it is stored and comes back: JSON's types, without secrets.

    Raises:
        UsageError: a value has no JSON form.
    """
    stored: dict[str, Any] = json.loads(storage.to_json(_without_secrets(storage.plain(config, "config"))))
    return stored


def fingerprint(config: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved config without its cosmetic keys; the order of keys does not matter."""
    text = json.dumps(_telling(config), sort_keys=True)
    return storage.checksum(text.encode())


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two resolved configs, as "bench.seeds: 3 there, 5 here", without cosmetic keys."""
    before, now = _flat(_telling(there)), _flat(_telling(here))
    keys = [key for key in {**before, **now} if json.dumps(before.get(key)) != json.dumps(now.get(key))]
    return [f"{key}: {_short(before.get(key))} there, {_short(now.get(key))} here" for key in keys]


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with dotted keys, one entry per setting."""
    return _flat(config)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers; reads metadata, imports nothing."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def document(config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json holds: a resolved config, its fingerprint, and under what it starts."""
    return {
        "config": config,
        "fingerprint": fingerprint(config),
        "versions": versions(),
        "platform": platform.platform(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _telling(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in COSMETIC}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if key not in SECRET}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            entries.update(_flat(inner, f"{prefix}{key}."))
        else:
            entries[f"{prefix}{key}"] = inner
    return entries


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
