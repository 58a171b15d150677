"""How the size ledger looks at the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from enxuto.cli.shared.terminal import human_bytes, show_table

if TYPE_CHECKING:
    from enxuto.enx.ledger import Ledger

__all__ = ["show_ledger"]


def show_ledger(ledger: Ledger, title: str) -> None:
    """Write the ledger as a table; what is not measured says so."""
    rows = [
        (
            row.name,
            ("" if row.measured else "≈ ") + human_bytes(row.bytes),
            _times(ledger.ratio(row)),
            f"{ledger.bits(row):.3f}" if ledger.parameters else "–",
        )
        for row in ledger.rows
    ]
    show_table(
        f"{title} · {ledger.parameters:,} parameters",
        {"form": "left", "size": "right", "smaller": "right", "bits/weight": "right"},
        rows,
        caption="≈ calculated; all others are measured files. Bits per weight count every byte.",
        give_way=("bits/weight", "smaller"),
    )


def _times(ratio: float) -> str:
    """How many times smaller; there is no such number where nothing is left."""
    return f"{ratio:.2f}×" if math.isfinite(ratio) else "–"
