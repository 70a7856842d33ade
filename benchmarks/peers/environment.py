"""The peers' own environment, `.venv-peers`: they need other versions of numpy and transformers than gnomon does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".venv-peers"
REQUIREMENTS = HERE / "requirements.txt"


def peers_python() -> Path:
    """The Python of the peers' environment, which is made, or brought up to date, where it must be."""
    python = FOLDER / "bin" / "python"
    installed = FOLDER / "installed.txt"  # written last: what an interrupted installation lacks
    wanted = REQUIREMENTS.read_text("utf-8")
    if installed.is_file() and installed.read_text("utf-8") == wanted:
        return python
    if sys.version_info >= (3, 13):
        sys.exit("The peers need numpy 1.26, which has no wheels for Python 3.13: use Python 3.11 or 3.12.")
    print(f"Making the peers' environment in {FOLDER} (once, a few minutes).", flush=True)
    subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    torch = next(line for line in wanted.splitlines() if line.startswith("torch=="))
    for what in ([torch], ["-r", str(REQUIREMENTS)]):
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
        subprocess.run(command, check=True)
    installed.write_text(wanted, "utf-8")
    return python
