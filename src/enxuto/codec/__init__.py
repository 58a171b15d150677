"""Integer levels and exact values ↔ bytes: exactly, fast, the same on every machine.

A *coder* (rANS) moves symbols of known frequency; a *model* says which frequencies hold for which symbol. `order0`
composes the coder with one static table per tensor. Files name the composition by its id, so that further ones
can be added and old files keep decoding.
"""

from enxuto.codec.order0 import decode_levels, encode_levels, entropy
from enxuto.codec.planes import decode_bytes, encode_bytes

__all__ = ["decode_bytes", "decode_levels", "encode_bytes", "encode_levels", "entropy"]
