"""The run folder and what instruments return: Readings, resume, progress. Knows nothing of models."""

from gnomon.runs.columns import NOT_MEASURED, Cell, Column, interval_text, number
from gnomon.runs.progress import Advance, Progress, progress
from gnomon.runs.reading import Generation, Reading
from gnomon.runs.run import Run, list_runs

__all__ = [
    "NOT_MEASURED",
    "Advance",
    "Cell",
    "Column",
    "Generation",
    "Progress",
    "Reading",
    "Run",
    "interval_text",
    "list_runs",
    "number",
    "progress",
]
