"""Integer levels and exact values ↔ bytes: exactly, fast, the same on every machine.

A *coder* (rANS) moves symbols of known frequency; a *model* says which frequencies hold for which symbol. `order0`
composes them with one static table per tensor, `contexts` with a class per weight and its neighbours; `choose`
takes whichever is shorter, and `level_costs` says how many bits a level costs. Files name the composition by its name,
so that further ones can be added and old files keep decoding.
"""

from enxuto.codec.choose import CODERS, TRELLIS_CODERS, Coder, decode, encode, encoded_size
from enxuto.codec.level_costs import LevelModel, fit
from enxuto.codec.order0 import decode_levels, encode_levels, entropy
from enxuto.codec.planes import decode_bytes, encode_bytes

__all__ = [
    "CODERS",
    "TRELLIS_CODERS",
    "Coder",
    "LevelModel",
    "decode",
    "decode_bytes",
    "decode_levels",
    "encode",
    "encode_bytes",
    "encode_levels",
    "encoded_size",
    "entropy",
    "fit",
]
