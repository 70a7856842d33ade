"""The Reading of the contrast pairs: what it says of the block and of the suffixes."""

import numpy as np
import torch

from gnomon.bench.pairs import pairs_reading
from gnomon.contrast import PairStates, packaged


def states(plain: tuple[str, ...], block: int = 1) -> PairStates:
    """Pairs that agree at one block, each suffix twice."""
    draw = torch.Generator().manual_seed(0)
    n = 2 * len(plain)
    toward, away = torch.randn(2, n, 3, 8, generator=draw)
    toward[:, block] = away[:, block] + 1.0
    suffix = np.arange(n) % len(plain)
    return PairStates(toward, away, suffix % 4 == 0, suffix, plain * 2)


def test_few_words_are_noted_and_what_to_do_about_them() -> None:
    reading = pairs_reading(
        states(tuple(f"the sky is {colour} ." for colour in ("blue", "red", "green", "grey")))
    )
    assert "agree most at block 1" in reading.sentence
    assert "The 4 suffixes amount to" in reading.sentence
    (note,) = reading.notes
    assert note.startswith("The 4 suffixes are alike: they amount to")
    assert note.endswith("begun answers).")


def test_diverse_suffixes_need_no_note() -> None:
    reading = pairs_reading(states(packaged("suffixes")))
    assert reading.notes == ()
    assert "The 400 suffixes amount to" in reading.sentence
