"""What a computation is known by: a hash of the values that determine it.

Of files that is what they hold, never where they are: moved or renamed they are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["content_hash"]


def content_hash(values: Mapping[str, Any]) -> str:
    """Sixteen hex digits that change when any of these JSON-safe values does, whatever their order.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
