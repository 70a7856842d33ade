"""`gnomon runs`: what was run here."""

from __future__ import annotations

from pathlib import Path

import typer

from gnomon.cli.options import Root
from gnomon.cli.output import headlines, models_of, table, words_of

EXAMPLE = "Example: gnomon runs --root runs"


def runs(root: Root = Path("runs")) -> None:
    """List the runs, oldest first: name, status, model, words and headline."""
    from gnomon.runs import list_runs

    found = list_runs(root)
    if not found:
        typer.echo(f"There are no runs in {root}; gnomon steer makes one.")
        return
    rows = []
    for run in found:
        told = [one["headline"] for one in headlines(run.folder) if one["headline"]]
        rows.append([run.name, run.status, models_of(run), words_of(run), told[0] if told else ""])
    table(["name", "status", "model", "words", "headline"], rows)
