"""What AntiPaSTO is compared with: the same losses with something else trained, or something else asked of the same edits.

Settings under names; whether they work is for the bench to say. Source: the table of failures in AntiPaSTO (Clark, arXiv
2601.07473).
"""

from __future__ import annotations

from dataclasses import replace

from gnomon.methods.antipasto import CODE
from gnomon.training.adapters import ADAPTERS
from gnomon.training.antipasto import DPO, IPO
from gnomon.training.kinds import SCALING

BASELINES = (
    *(replace(CODE, name=kind, adapter=kind) for kind in ADAPTERS),
    replace(CODE, name="antipasto-scaling", adapter=SCALING),
    *(replace(CODE, name=f"antipasto-{loss}", projection=loss) for loss in (DPO, IPO)),
)
