"""What is said before a measurement: the resolved settings in short, and what it will cost."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from gnomon.bench.settings import Settings
from gnomon.cli.options import told
from gnomon.cli.output import only_json, print_json

_SAID = frozenset({"model", "toward", "away", "methods", "seeds"})


def announce(settings: Settings, models: Sequence[str] = ()) -> None:
    """Say on stderr what is about to be measured: the main settings, and those that are not the default."""
    parts = [
        ", ".join(models or [settings.model]),
        f"{settings.toward} / {settings.away}",
        f"methods {', '.join(settings.methods)}",
        f"seeds {', '.join(map(str, settings.seeds))}",
        *(f"{name} {_text(value)}" for name, value in told(settings).items() if name not in _SAID),
    ]
    typer.echo("; ".join(parts), err=True)


def show_estimate(plans: Sequence[Settings], *, as_json: bool) -> None:
    """Print what the measurements would cost, one after the other, and their sum as JSON."""
    from gnomon import bench

    with only_json(as_json):
        estimates = [bench.estimate(plan) for plan in plans]
    if as_json:
        print_json(
            {name: sum(getattr(one, name) for one in estimates) for name in ("forwards", "tokens", "minutes")}
        )
        return
    for plan, estimate in zip(plans, estimates, strict=True):
        typer.echo(f"{plan.model}: {estimate.sentence}" if len(plans) > 1 else estimate.sentence)


def _text(value: object) -> str:
    if isinstance(value, dict):
        from gnomon.runs.config import flat

        # A list as --set takes it: shift.edited=0,2.
        texts = {key: one if isinstance(one, tuple) else (one,) for key, one in flat(value).items()}
        return ", ".join(f"{key}={','.join(map(str, parts))}" for key, parts in texts.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
