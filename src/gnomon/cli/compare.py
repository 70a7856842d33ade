"""`gnomon compare`: two runs against each other, paired on the questions that both were asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.options import AsJson, Root
from gnomon.cli.output import document, only_json, print_json, show_readings

EXAMPLE = "Example: gnomon compare 20260131-0900 20260131-1030"

_RUN = "a run folder, or the beginning of a run's name"


def compare(
    first: Annotated[str, typer.Argument(help=_RUN)],
    second: Annotated[str, typer.Argument(help=_RUN)],
    root: Root = Path("runs"),
    json: AsJson = False,
) -> None:
    """Compare two runs on the questions that both were asked."""
    from gnomon.runs import Run

    runs = [Run.open(name, root) for name in (first, second)]
    with only_json(json):
        from gnomon import bench

        reading = bench.compare(*runs)
    if json:
        print_json(document(reading))
    else:
        show_readings([reading])
