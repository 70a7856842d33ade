"""Contrast pairs from two words: persona templates, suffixes, and the pairs that a model reads.

Knows models by their token ids and the touchstone's name; knows nothing of dials, questions or scores.
"""

from gnomon.contrast.contrast import REQUEST, Contrast
from gnomon.contrast.diversity import SuffixDiversity, suffix_diversity
from gnomon.contrast.lines import packaged, read_lines
from gnomon.contrast.pairs import Pairs
from gnomon.contrast.states import PairStates, read_pairs
from gnomon.contrast.words import article, fill

__all__ = [
    "REQUEST",
    "Contrast",
    "PairStates",
    "Pairs",
    "SuffixDiversity",
    "article",
    "fill",
    "packaged",
    "read_lines",
    "read_pairs",
    "suffix_diversity",
]
