"""Dials for other engines: a LoRA, a merged checkpoint, a control vector, a bias. One file per format.

Every export is compared with the dial it came from before it is kept; nothing here knows how a dial was found.
"""

from gnomon.dials.exports.bias import to_bias
from gnomon.dials.exports.comparing import Difference, Export
from gnomon.dials.exports.door import check
from gnomon.dials.exports.gguf import to_gguf
from gnomon.dials.exports.lora import to_lora
from gnomon.dials.exports.merged import to_merged

__all__ = ["FORMATS", "Difference", "Export", "check", "to_bias", "to_gguf", "to_lora", "to_merged"]

FORMATS = {"lora": to_lora, "merged": to_merged, "gguf": to_gguf, "bias": to_bias}
