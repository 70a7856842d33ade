"""Dials: three primitive edits, their scale, and how they are kept. How a dial is found is not known here."""

from gnomon.dials import exports
from gnomon.dials.cores import FreeCore, RotationCore, cayley
from gnomon.dials.dial import NATIVE, Attached, Dial, Edit, Scale
from gnomon.dials.edits import AddVector, LowRank, Prefix
from gnomon.dials.strength import (
    KLCurve,
    kl_curve,
    mean_kl,
    scaled_to_kl,
    scaled_to_match,
    turned_down,
)

__all__ = [
    "NATIVE",
    "AddVector",
    "Attached",
    "Dial",
    "Edit",
    "FreeCore",
    "KLCurve",
    "LowRank",
    "Prefix",
    "RotationCore",
    "Scale",
    "cayley",
    "exports",
    "kl_curve",
    "mean_kl",
    "scaled_to_kl",
    "scaled_to_match",
    "turned_down",
]
