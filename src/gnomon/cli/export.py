"""`gnomon export`: a dial in a form that other engines load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.bench.settings import Settings
from gnomon.cli.chat import misfit
from gnomon.cli.options import opening
from gnomon.errors import UsageError

EXAMPLE = "Example: gnomon export honesty.dial --to lora --alpha 1 --alpha -1 --out honesty-lora"


@opening
def export(
    settings: Settings,
    dial: Annotated[Path, typer.Argument(help="a dial's folder")],
    to: Annotated[str, typer.Option("--to", help="lora, merged, gguf (a control vector) or bias")],
    out: Annotated[Path, typer.Option("--out", help="the new folder that the exports are put in")],
    alpha: Annotated[
        list[float] | None,
        typer.Option("--alpha", help="where the dial stands; give it once per export \\[default: 1 and -1]"),
    ] = None,
    inexact: Annotated[
        bool,
        typer.Option(
            "--inexact",
            help="export a dial that leaves the first token alone, and say by how much that differs",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            envvar="GNOMON_MODEL",
            help="the model to export for; by default the one the dial was made for",
        ),
    ] = None,
) -> None:
    """Write a dial as a LoRA, a merged checkpoint, a control vector or a bias, and compare each with the dial."""
    from gnomon.dials import Dial, exports

    turned = Dial.load(dial)
    alphas = tuple(alpha or (1.0, -1.0))
    exports.check(to, turned, out, alphas, inexact=inexact)
    named = model or turned.base_model
    if not named:
        raise UsageError(f"the dial {dial} does not say which model it was made for; name it with --model")
    from gnomon.bench.opening import open_model

    lm = open_model(settings.model_copy(update={"model": named}))
    for warning in misfit(turned, lm):
        typer.echo(f"warning: {warning}", err=True)
    for made in exports.FORMATS[to](turned, lm, out, alphas, inexact=inexact):
        typer.echo(made)
