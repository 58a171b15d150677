"""The compression of a file's head, table and graph; `docs/format.md` defines it."""

from __future__ import annotations

import lzma
from typing import Any

__all__ = ["lzma_filters"]


def lzma_filters(length: int) -> list[dict[str, Any]]:
    """LZMA's parameters, which the file does not repeat: lc 1, lp 0, pb 0, a window that just holds the head.

    Measured on the heads of the networks in `docs/results.md`, lc 1 is the best or within 2 bytes of it. The
    other entries only tell the encoder to search thoroughly.
    """
    window = max(4096, 1 << max(0, length - 1).bit_length())
    return [
        {
            "id": lzma.FILTER_LZMA1,
            "preset": 9 | lzma.PRESET_EXTREME,
            "dict_size": min(window, 1 << 26),
            "lc": 1,
            "lp": 0,
            "pb": 0,
            "nice_len": 273,
            "depth": 1000,
        }
    ]
