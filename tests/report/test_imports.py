"""The command line's help must not wait for heavy libraries."""

import subprocess
import sys


def test_reports_and_runs_import_nothing_heavy() -> None:
    code = "import sys, gnomon.report, gnomon.runs; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"torch", "transformers", "sklearn", "scipy", "pandas", "pyarrow", "plotly", "jinja2", "rich"}
    assert heavy.isdisjoint(loaded)
