"""The language model: open it, encode prompts, read its residual stream, apply edits, ask for answers, generate."""

from gnomon.lm.answers import Answers, Classes
from gnomon.lm.batches import Progress
from gnomon.lm.edits import Delta, Edit, Steering
from gnomon.lm.generation import Sample
from gnomon.lm.head import DenseHead, Head
from gnomon.lm.layout import Layout, Part, Places, lay_out
from gnomon.lm.model import LM
from gnomon.lm.packing import pack
from gnomon.lm.prompts import Chat, Prompt
from gnomon.lm.replay import Replay, frozen, read_states

__all__ = [
    "LM",
    "Answers",
    "Chat",
    "Classes",
    "Delta",
    "DenseHead",
    "Edit",
    "Head",
    "Layout",
    "Part",
    "Places",
    "Progress",
    "Prompt",
    "Replay",
    "Sample",
    "Steering",
    "frozen",
    "lay_out",
    "pack",
    "read_states",
]
