"""`gnomon chat`: talk to a model while turning a dial.

Every line is a prompt of its own: a prompt has one user turn, and earlier lines are not sent again.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gnomon.bench.settings import Settings
from gnomon.cli.options import Root, opening
from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.dials import Dial
    from gnomon.lm import LM

EXAMPLE = "Example: gnomon chat --model touchstone:honesty --dial runs/first/dial --alpha 1"

HELP = """\
/alpha 0.5       turn the dial: +1 toward, 0 the model as it is, -1 away, and anything between
/alpha           say where the dial stands
/compare TEXT    answer at -1, 0 and +1; without TEXT, the last prompt again
/reset           put the dial back to where it stood at the start
/help            these lines
/quit            end (or Ctrl-D, Ctrl-C)
Anything else is a prompt. Every line is a prompt of its own; the model does not see earlier ones."""


@opening
def chat(
    settings: Settings,
    dial: Annotated[
        Path | None,
        typer.Option("--dial", help="a dial's folder; by default that of the newest run with this model"),
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="where the dial stands at the start")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="length of an answer")] = 256,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0 always takes the likeliest token")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of the sampling")] = 0,
    root: Root = Path("runs"),
) -> None:
    """Talk to a model and turn a dial while you do. Lines may also be piped in."""
    folder = dial if dial is not None else newest_dial(settings.model, root)
    from gnomon.bench.opening import open_model
    from gnomon.dials import Dial

    turned = Dial.load(folder)
    lm = open_model(settings)
    for warning in misfit(turned, lm):
        typer.echo(f"warning: {warning}", err=True)
    check_alpha(turned, alpha)
    words = " / ".join(turned.words) if turned.words else turned.name
    typer.echo(f"{settings.model} with the dial {folder} ({words}); /help lists what you can type.", err=True)
    typer.echo("Every line is a prompt of its own; the model does not see earlier ones.", err=True)
    session = Session(lm, turned, alpha, max_new_tokens, temperature, seed)
    try:
        for line in lines(session):
            if not session.take(line):
                break
    except KeyboardInterrupt:
        typer.echo()


def newest_dial(model: str, root: Path) -> Path:
    """The dial of the newest run below `root` that was made with this model.

    Raises:
        UsageError: there is none.
    """
    from gnomon.cli.output import dials
    from gnomon.cli.show import dial_description
    from gnomon.runs import list_runs

    for run in reversed(list_runs(root)):
        for folder in dials(run.folder):
            if dial_description(folder)["base_model"] == model:
                return folder
    raise UsageError(
        f"no run in {root} has a dial for {model}; make one with gnomon steer --model {model}, or name one with --dial"
    )


def check_alpha(dial: Dial, alpha: float) -> None:
    """Refuse a coefficient that the dial cannot take: a prompt has only -1, 0 and +1."""
    if not math.isfinite(alpha):
        raise UsageError(f"alpha cannot be {alpha:g}; give a number, for example 0.5")
    for edit in dial.edits:
        edit.prefix(alpha)


def signed(alpha: float) -> str:
    """A coefficient with its sign: -1, 0, +0.5."""
    return f"{alpha:+g}" if alpha else "0"


def misfit(dial: Dial, lm: LM) -> list[str]:
    """What the dial warns of on this model; a dial for another architecture is refused."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dial.check(lm)
    return [str(warning.message) for warning in caught]


def lines(session: Session) -> Iterator[str]:
    """What the user types, line by line; without a prompt where lines are piped in."""
    typed = sys.stdin.isatty()
    if typed:
        with contextlib.suppress(ImportError):  # Windows has none
            # input() keeps a history of lines once it is imported.
            importlib.import_module("readline")
    while True:
        try:
            yield input(f"[{signed(session.alpha)}] > " if typed else "")
        except EOFError:
            if typed:
                typer.echo()
            return


@dataclass
class Session:
    """A model, a dial, and where the dial stands."""

    lm: LM
    dial: Dial
    alpha: float
    max_new_tokens: int
    temperature: float
    seed: int
    last: str = ""

    def __post_init__(self) -> None:
        self._start = self.alpha

    def take(self, line: str) -> bool:
        """Answer a prompt or obey a command; False ends the session."""
        text = line.strip()
        if text == "/quit":
            return False
        try:
            self._obey(text)
        except UsageError as error:
            typer.echo(f"error: {error}", err=True)
        return True

    def _obey(self, text: str) -> None:
        command, _, rest = text.partition(" ")
        if not text:
            return
        if command == "/alpha":
            self._turn(rest.strip())
        elif command == "/compare":
            self._compare(rest.strip() or self.last)
        elif text == "/reset":
            self.alpha = self._start
            typer.echo(f"alpha = {signed(self.alpha)}")
        elif text == "/help":
            typer.echo(HELP)
        elif text.startswith("/"):
            raise UsageError(f"there is no command {command}; /help lists them")
        else:
            self.last = text
            self._answer(text, self.alpha)

    def _turn(self, number: str) -> None:
        if number:
            try:
                alpha = float(number)
            except ValueError:
                raise UsageError(f"{number!r} is no number; write for example /alpha 0.5") from None
            check_alpha(self.dial, alpha)
            self.alpha = alpha
        typer.echo(f"alpha = {signed(self.alpha)}")

    def _compare(self, prompt: str) -> None:
        if not prompt:
            raise UsageError("there is no prompt to compare yet; write /compare and a prompt")
        self.last = prompt
        for alpha in (-1.0, 0.0, 1.0):
            typer.echo(f"{signed(alpha)}: ", nl=False)
            self._answer(prompt, alpha)

    def _answer(self, prompt: str, alpha: float) -> None:
        options = {"max_new_tokens": self.max_new_tokens, "seed": self.seed}
        with self.lm.steer(self.dial, alpha):
            for piece in self.lm.stream(prompt, temperature=self.temperature, **options):
                typer.echo(piece, nl=False)
        typer.echo()
