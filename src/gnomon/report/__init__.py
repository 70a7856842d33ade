"""A run's Readings for people: one HTML page, the same words on a console, and figures from plain arrays.

Knows Readings and plotly; knows nothing of models or instruments.
"""

from gnomon.report import figures, terminal
from gnomon.report.page import html, render

__all__ = ["figures", "html", "render", "terminal"]
