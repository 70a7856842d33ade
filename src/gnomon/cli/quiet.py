"""What the libraries below may say on the console: nothing by default, everything with --verbose."""

from __future__ import annotations

import logging
import os
import warnings


def be_quiet() -> None:
    """Silence the warnings, logs and progress bars of the libraries; call it before they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    logging.lastResort = None


def be_verbose() -> None:
    """Show the logs of the libraries on stderr, and their warnings as Python does."""
    logging.basicConfig(level=logging.INFO)
