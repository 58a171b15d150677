"""What Magalhães et al. publish in numbers of VGG-16 on CIFAR-10: where tickets were found, and the speed-ups.

Source: G. Magalhães, chapter 5: its comparison with Renda et al. (tickets of learning-rate rewinding, over 66.27 to
1.02 % of the parameters) and section 5.2.4 (speed-ups, close to these in the last rounds). Its curves are drawings
without numbers.
"""

from __future__ import annotations

__all__ = ["NETWORK", "SPEEDS", "TICKETS"]

NETWORK = "VGG-16 on CIFAR-10"
TICKETS = ("learning-rate rewinding", (66.27, 40.85, 24.90, 16.18, 12.19))
"""How networks were retrained, and the shares of parameters remaining, in %, of the winning tickets."""

SPEEDS = (("cpu", 1, "≈ 5"), ("cpu", 128, "≈ 4"), ("gpu", 1, "< 1.5"), ("gpu", 128, "< 1.5"))
"""Device, batch size, and how many times faster the networks of the last rounds are."""
