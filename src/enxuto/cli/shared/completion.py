"""What the shell may complete: names of networks and of preprocessing presets."""

from __future__ import annotations

__all__ = ["complete_networks", "complete_presets"]


def complete_networks(incomplete: str) -> list[str]:
    """Return the networks of the zoo whose names begin like this."""
    from enxuto.zoo import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_presets(incomplete: str) -> list[str]:
    """Return the preprocessing presets whose names begin like this."""
    from enxuto.data.preprocess import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]
