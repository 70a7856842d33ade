"""`gnomon touchstone`: the calibration standards that come with gnomon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.output import table
from gnomon.errors import UsageError

app = typer.Typer(
    help="Touchstones: small models whose inner values are known, because they were planted.",
    epilog="Example: gnomon touchstone card honesty",
    no_args_is_help=True,
)

# The numbers of the list, where a touchstone has them; the card has them all.
_HEADLINES = (
    "right",
    "honest_share",
    "generous_share",
    "oracle_mean_difference",
    "refused_away",
    "persona_difference",
)

Name = Annotated[str, typer.Argument(help="a touchstone's name; gnomon touchstone list says which there are")]


@app.command("list", epilog="Example: gnomon touchstone list")
def list_() -> None:
    """List the packaged touchstones, what is planted in them and what was measured."""
    from gnomon import touchstones
    from gnomon.worlds.card import PLANTED

    rows = []
    for name in touchstones.names():
        kept = touchstones.recipe(name)
        numbers = kept["acceptance"]
        measured = [
            f"{headline.replace('_', ' ')} {numbers[headline]:.3g}"
            for headline in _HEADLINES
            if headline in numbers
        ]
        planted = PLANTED[kept["recipe"]["rule"]].split(". ")[0] + "."
        rows.append([name, planted, ", ".join(measured)])
    table(["name", "what is planted", "measured"], rows)


@app.command(epilog="Example: gnomon touchstone card honesty")
def card(name: Name) -> None:
    """Print a touchstone's model card with its measured numbers."""
    from gnomon import touchstones

    typer.echo(touchstones.card(name).rstrip())


@app.command(epilog="Example: gnomon touchstone build honesty --out my-honesty")
def build(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="the folder to write; by default one with the touchstone's name"),
    ] = None,
) -> None:
    """Train a touchstone from its recipe and measure it; a stopped build goes on when it is run again."""
    from gnomon.bench.measure import counting
    from gnomon.runs import progress
    from gnomon.worlds.build import build, recipe_named

    steps = recipe_named(name).training.steps
    with counting(progress, f"training {name}", steps) as done:
        folder = build(name, out or Path(name), progress=lambda step, total, loss: done(step, total))
    typer.echo(f"{folder}: built, measured and accepted; its README.md has the numbers")


@app.command(epilog="Example: gnomon touchstone dilemmas honesty --count 600 --out training.jsonl")
def dilemmas(
    name: Name,
    out: Annotated[Path, typer.Option("--out", help="the file to write: .csv, .jsonl or .parquet")],
    count: Annotated[int, typer.Option("--count", help="how many dilemmas, each asked both ways")] = 600,
    seed: Annotated[int, typer.Option("--seed", help="which of them are drawn")] = 0,
) -> None:
    """Write labelled dilemmas to train on, none of them about what the touchstone's own questions ask."""
    from gnomon.questions import save
    from gnomon.worlds.build import recipe_named
    from gnomon.worlds.grammar import WORLDS
    from gnomon.worlds.labelled import training_questions

    if out.exists():
        raise UsageError(f"{out} exists and is not overwritten; give another name")
    asked = training_questions(WORLDS[recipe_named(name).rule], count, seed)
    save(asked, out)
    typer.echo(
        f"{out}: {len(asked.targets)} questions about {count} dilemmas, and {len(asked.controls)} controls"
    )
