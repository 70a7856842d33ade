"""`gnomon report`: the page of a run, made again from its readings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.options import Root

EXAMPLE = "Example: gnomon report 20260131-0900 --open"


def report(
    run: Annotated[str, typer.Argument(help="a run folder, or the beginning of a run's name")],
    open_it: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    root: Root = Path("runs"),
) -> None:
    """Write a run's report.html again and print its path."""
    from gnomon.report import render
    from gnomon.runs import Run

    path = render(Run.open(run, root))
    typer.echo(path)
    if open_it:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
