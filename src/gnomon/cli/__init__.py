"""The command line: one file per command. Says what was asked and what came out; what is done is done below.

Everything heavy is imported inside the commands, so that `gnomon --help` and `gnomon show` answer at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gnomon.cli import bench, chat, compare, export, questions, report, runs, show, steer, touchstone
from gnomon.cli.endings import Commands
from gnomon.cli.quiet import be_quiet, be_verbose

__all__ = ["app", "main"]

app = typer.Typer(
    name="gnomon",
    cls=Commands,
    help="An instrument bench for the values inside language models.",
    epilog="Example: gnomon steer --model touchstone:honesty --toward honest --away dishonest --quick",
    no_args_is_help=True,
    add_completion=False,
    # A bug keeps its plain traceback, without the values of variables.
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from gnomon import __version__

        typer.echo(f"gnomon {__version__}")
        raise typer.Exit


@app.callback()
def _before(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="show the warnings and the log of the libraries")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    if verbose:
        be_verbose()
    else:
        be_quiet()


app.command(epilog=steer.EXAMPLE)(steer.steer)
app.command(epilog=bench.EXAMPLE)(bench.bench)
app.command(epilog=chat.EXAMPLE)(chat.chat)
app.command(epilog=export.EXAMPLE)(export.export)
app.add_typer(touchstone.app, name="touchstone")
app.add_typer(questions.app, name="questions")
app.command(epilog=runs.EXAMPLE)(runs.runs)
app.command(epilog=compare.EXAMPLE)(compare.compare)
app.command(epilog=report.EXAMPLE)(report.report)
app.command(epilog=show.EXAMPLE)(show.show)


def main() -> None:
    """What the installed `gnomon` runs."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`gnomon runs | head`) has gone: leave nothing that Python would try to write on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
