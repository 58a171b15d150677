"""The block of each family as a diagram, by the family's name."""

from __future__ import annotations

from network_blocks_branched import BRANCHED
from network_blocks_plain import PLAIN
from network_drawing import Diagram

__all__ = ["DIAGRAMS"]

DIAGRAMS: dict[str, Diagram] = {**PLAIN, **BRANCHED}
