"""`gnomon touchstone`: the calibration standards that come with gnomon."""

from __future__ import annotations

from typing import Annotated

import typer

from gnomon.cli.output import table

app = typer.Typer(
    help="Touchstones: small models whose inner values are known, because they were planted.",
    epilog="Example: gnomon touchstone card honesty",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="a touchstone's name; gnomon touchstone list says which there are")]


@app.command("list", epilog="Example: gnomon touchstone list")
def list_() -> None:
    """List the packaged touchstones."""
    from gnomon import touchstones

    table(
        ["name", "what it is", "measured on it"],
        [[name, _first_line(touchstones.card(name)), _measured(name)] for name in touchstones.names()],
    )


@app.command(epilog="Example: gnomon touchstone card honesty")
def card(name: Name) -> None:
    """Print a touchstone's model card with its measured numbers."""
    from gnomon import touchstones

    typer.echo(touchstones.card(name).rstrip())


def _first_line(text: str) -> str:
    """The first line of a card that is neither its header nor a heading."""
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    lines = (line.strip() for line in body.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def _measured(name: str) -> str:
    from gnomon import touchstones

    numbers = touchstones.recipe(name).get("acceptance", {})
    return ", ".join(f"{key} {numbers[key]:.3g}" for key in ("right", "honest_share") if key in numbers)
