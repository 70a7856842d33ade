"""Questions with two answer classes and signed labels: loading, writing and checking them.

Knows prompts and how a model answers; knows nothing of dials, methods or scores.
"""

from gnomon.questions.checking import check, summary
from gnomon.questions.files import save
from gnomon.questions.loading import dilemmas, load, parse_answers
from gnomon.questions.packaged import default_for
from gnomon.questions.schema import Question, Questions
from gnomon.questions.starter import template

__all__ = [
    "Question",
    "Questions",
    "check",
    "default_for",
    "dilemmas",
    "load",
    "parse_answers",
    "save",
    "summary",
    "template",
]
