"""The console shows the words of the report, and what does not fit is named."""

import io
import re
from collections.abc import Callable

import pandas as pd
import pytest
from rich.console import Console

from gnomon import report
from gnomon.runs import Generation, Reading, Run


def printed(reading: Reading, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    report.terminal.show(reading, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_wide_console_shows_every_measured_column(example_run: Callable[..., Run]) -> None:
    text = printed(example_run().readings[0], 200)
    for words in (
        "81.2 [76.3, 85.6] (95 % interval, n = 120 dilemmas)",
        "68.4 [62.3, 73.9]",
        "KL, nats",
        "fit, s",
    ):
        assert words in text
    assert "Only in the report" not in text
    assert "not measured" in text
    assert "Missing: refusal mass: not measured for every row." in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_console_drops_columns_by_name_and_breaks_no_number(
    example_run: Callable[..., Run], width: int
) -> None:
    text = printed(example_run().readings[0], width)
    assert re.search(r"mean difference +68\.4 \[62\.3, 73\.9\]", text)
    rest = text.split("Only in the report, or in a wider terminal: ")[1]
    assert "fit, s" in rest
    assert max(map(len, text.splitlines())) <= width


def test_examples_and_console_markup_are_shown_as_they_are() -> None:
    text = printed(
        Reading(
            name="r",
            title="[bold]T[/bold]",
            sentence="[red]s",
            notes=("[/]n",),
            table=pd.DataFrame({"[b]a": ["[i]x"]}),
            generations=(Generation("[link]p", {"+1": "[/nothing] open"}),),
        ),
        100,
    )
    for words in ("[bold]T[/bold]", "[red]s", "[/]n", "[b]a", "[i]x", "[link]p", "+1  [/nothing] open"):
        assert words in text
