"""The door of the bench: what is missing is told before anything is opened or written."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from gnomon.bench import Settings, estimate
from gnomon.bench.opening import check_packages
from gnomon.bench.running import bench
from gnomon.errors import UsageError


@pytest.mark.parametrize(
    "wanted",
    [
        {"methods": ("mean-difference", "dora")},
        {"methods": ("shift",), "method_settings": {"shift": {"adapter": "lora"}}},
    ],
)
def test_without_peft_nothing_begins_that_will_need_it(
    wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    # A model that does not exist: the package is asked for first.
    settings = Settings(model=str(tmp_path / "none"), root=str(tmp_path / "runs"), **wanted)
    for begin in (bench, estimate):
        with pytest.raises(UsageError, match=r"needs the package peft: .*gnomon\[adapters\]"):
            begin(settings)
    assert not (tmp_path / "runs").exists()
    check_packages(
        settings.model_copy(update={"methods": ("shift", "antipasto", "pca"), "method_settings": {}})
    )
