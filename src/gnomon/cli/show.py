"""`gnomon show`: a run, a dial or a touchstone in a few lines. Reads json only, so it answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gnomon.cli.options import Root
from gnomon.cli.output import DIAL, headlines, models_of, show_files, words_of

EXAMPLE = "Example: gnomon show touchstone:honesty"


def show(
    what: Annotated[
        str,
        typer.Argument(help="a run (folder or beginning of its name), a dial's folder, or touchstone:NAME"),
    ],
    root: Root = Path("runs"),
) -> None:
    """Show a run, a dial or a touchstone in a few lines."""
    scheme, _, name = what.partition(":")
    if scheme == "touchstone":
        from gnomon import touchstones

        typer.echo(touchstones.card(name).rstrip())
    elif (Path(what) / DIAL).is_file():
        _show_dial(Path(what))
    else:
        _show_run(what, root)


def _show_run(what: str, root: Path) -> None:
    from gnomon.runs import Run

    run = Run.open(what, root)
    typer.echo(f"{run.folder}: {run.status}, begun {run.created}")
    typer.echo(f"{models_of(run)}: {words_of(run)}")
    if run.status == "failed":
        typer.echo(next(event["error"] for event in reversed(run.events) if event["kind"] == "failed"))
    for reading in headlines(run.folder):
        typer.echo(f"\n{reading['title']}")
        for line in (reading["headline"], reading["sentence"]):
            if line:
                typer.echo(f"  {line}")
    typer.echo()
    show_files(run.folder)


def _show_dial(folder: Path) -> None:
    dial = dial_description(folder)
    words = dial["words"]
    lines = {
        "words": " / ".join(words) if words else "not recorded",
        "model": dial["base_model"] or "not recorded",
        "edits": _edits(dial["edits"]),
        "scale": _scale(dial["scale"]),
        **dial["notes"],
    }
    typer.echo(f"{folder}: the dial {dial['name']}")
    for key, value in lines.items():
        typer.echo(f"  {key}: {value}")


def dial_description(folder: Path) -> dict[str, Any]:
    """What a dial's folder says about it, without its tensors.

    Raises:
        Failure: it is damaged.
    """
    from gnomon.errors import Failure
    from gnomon.runs import storage

    path = folder / DIAL
    kept = storage.from_json(storage.read(path), path)
    wanted = {"name", "words", "base_model", "edits", "scale", "notes"}
    if not isinstance(kept, dict) or not wanted <= kept.keys():
        raise Failure(f"{path} describes no dial; copy or fit it again")
    return kept


def _edits(edits: list[dict[str, Any]]) -> str:
    """The edits in a line: of more than two Linears, how many, and the first and the last one."""
    modules = [edit["module"] for edit in edits if edit.get("kind") == "LowRank"]
    if len(modules) <= 2:
        return "; ".join(map(_edit, edits))
    others = [_edit(edit) for edit in edits if edit.get("kind") != "LowRank"]
    return "; ".join([*others, f"LowRank on {len(modules)} Linears ({modules[0]} to {modules[-1]})"])


def _edit(edit: dict[str, Any]) -> str:
    kind, rest = edit.get("kind"), {key: value for key, value in edit.items() if key != "kind"}
    return f"{kind} ({', '.join(f'{key} {value}' for key, value in rest.items())})"


def _scale(scale: dict[str, Any] | None) -> str:
    if scale is None:
        return "not recorded"
    reached = "" if scale.get("reached", True) else " (not reached)"
    return f"{scale.get('kind')}, {scale.get('factor', 1):.3g} x native{reached}"
