"""Every benchmark, one after the other: python benchmarks/run_all.py. The exit code is 1 where one of them failed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("oracles.py", "speed.py", "training.py", "coverage.py")


def main() -> int:
    failed = []
    for script in SCRIPTS:
        if not (HERE / script).is_file():
            continue
        print(f"# {script}\n", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, HERE / script], env={"OMP_NUM_THREADS": "1", **os.environ})
        print(f"{script} took {time.monotonic() - began:.0f} s.\n", flush=True)
        if done.returncode:
            failed.append(script)
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
