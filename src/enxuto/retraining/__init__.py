"""Retraining: weights learn to be levels, at a price for the bits that the file's coder spends on them.

`Retraining` says how long and how; `enxuto.compress(..., retrain=Retraining(minutes=30))` uses it. `levels` rounds in
the forward pass, `rate` says what levels cost, `price` steers what a bit is worth, `training` is the loop. The teacher
is the original, so no labels are needed. Only `Retraining` itself can be imported without torch.
"""

from enxuto.retraining.settings import Retraining

__all__ = ["Retraining"]
