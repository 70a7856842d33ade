"""`gnomon questions`: a first file of questions, and whether a model answers them in the expected form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gnomon.bench.settings import Settings
from gnomon.cli.options import opening
from gnomon.cli.output import table

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20

app = typer.Typer(
    help="Questions with two answer classes: start a file, check a file.",
    epilog="Example: gnomon questions check touchstone:honesty --model touchstone:honesty",
    no_args_is_help=True,
)


@app.command(epilog="Example: gnomon questions template my-questions.csv")
def template(file: Annotated[Path, typer.Argument(help="the CSV file to write")]) -> None:
    """Write a small, explained file of questions to edit."""
    from gnomon.questions import template as write

    path = write(file)
    typer.echo(f"{path}: edit it, then run gnomon questions check {path} --model MODEL")


@app.command(epilog="Example: gnomon questions check my-questions.csv --model ./my-model --answers 'A=A;B=B'")
@opening
def check(
    settings: Settings,
    file: Annotated[str, typer.Argument(help="a csv, jsonl or parquet file, or touchstone:NAME")],
    prompt: Annotated[str, typer.Option("--prompt", help="the column with the prompts")] = "prompt",
    label: Annotated[str, typer.Option("--label", help="the column with the labels")] = "label",
    cluster: Annotated[
        str, typer.Option("--cluster", help="the column that says which questions belong together")
    ] = "cluster",
    answers: Annotated[
        str | None,
        typer.Option("--answers", help="the answer classes of all questions: yes=yes,Yes;no=no,No"),
    ] = None,
) -> None:
    """Check that a model answers a file of questions in the expected form."""
    from gnomon import questions

    asked = questions.load(file, prompt=prompt, label=label, cluster=cluster, answers=answers)
    from gnomon.bench.measure import counting
    from gnomon.bench.opening import open_model
    from gnomon.runs import progress

    lm = open_model(settings)
    with counting(progress, "asking", len(asked)) as done:
        found = questions.check(lm, asked, progress=done)
    _print_flagged(found)
    for note in asked.notes:
        typer.echo(f"Note: {note}.")
    typer.echo(questions.summary(found))


def _print_flagged(found: pd.DataFrame) -> None:
    """The first rows that a user has to look at."""
    from gnomon.runs import number

    flagged = found[found["flag"] != ""]
    rows = [
        [
            str(index),
            row["error"] or row["flag"],
            number(row["choice_mass"], 2),
            *(" ".join(row[column].split()) for column in ("says", "prompt")),
        ]
        for index, row in flagged.head(_SHOWN).iterrows()
    ]
    if rows:
        table(["row", "what is wrong", "answer mass", "the model says", "prompt"], rows)
    if len(flagged) > _SHOWN:
        typer.echo(f"and {len(flagged) - _SHOWN} more")
