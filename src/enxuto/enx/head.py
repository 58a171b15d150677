"""The compression of a file's head, table and graph; `docs/format.md` defines it."""

from __future__ import annotations

import lzma
from typing import Any

__all__ = ["lzma_filters", "pack"]

_NEAR = 4096  # bytes back in which repetition is sought, for heads of mostly numbers
_LARGE = 1 << 15  # bytes, from which on a head may hold tables and weights of whole numbers


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


def pack(data: bytes) -> bytes:
    """Return the shorter of two streams that `lzma_filters` decodes: repetition is sought everywhere, or only nearby.

    Among bytes of weights, which repeat by chance, distances far back cost more than they save (0.3 to 1.5 %).
    """
    (usual,) = lzma_filters(len(data))
    streams = [lzma.compress(data, lzma.FORMAT_RAW, filters=[usual])]
    if len(data) >= _LARGE:
        for narrow in ({"nice_len": 273}, {"nice_len": 8, "mf": lzma.MF_BT2}):
            near = {**usual, "dict_size": _NEAR, "depth": 0, **narrow}
            streams.append(lzma.compress(data, lzma.FORMAT_RAW, filters=[near]))
    return min(streams, key=len)
