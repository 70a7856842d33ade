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
