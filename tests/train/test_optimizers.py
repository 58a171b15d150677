"""The nine optimizers: two steps on f(w) = w²/2 (gradient w) from w = 1, worked by their published formulas."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from enxuto.train.config import Optimizer, TrainConfig
from enxuto.train.optimizers import make_optimizer, set_rate

LR = 0.1


def steps(settings: dict[str, object], count: int = 2) -> list[float]:
    weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = make_optimizer(TrainConfig.from_recipe(None, {"lr": LR, **settings}), [weight])
    found = []
    for _ in range(count):
        optimizer.zero_grad()
        (weight**2 / 2).backward()
        optimizer.step()
        found.append(weight.item())
    return found


def adaptive(name: str) -> list[float]:
    """AdaGrad, AdaDelta, RMSProp, Adam, AdaMax by their formulas with torch's default coefficients."""
    w, m, v, x, found = 1.0, 0.0, 0.0, 0.0, []
    for t in (1, 2):
        g = w
        if name == "adagrad":
            v += g * g
            w -= LR * g / (v**0.5 + 1e-10)
        elif name == "rmsprop":
            v = 0.99 * v + 0.01 * g * g
            w -= LR * g / (v**0.5 + 1e-8)
        elif name == "adadelta":
            v = 0.9 * v + 0.1 * g * g
            change = ((x + 1e-6) / (v + 1e-6)) ** 0.5 * g
            x = 0.9 * x + 0.1 * change * change
            w -= LR * change
        elif name == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            w -= LR * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        elif name == "adamax":
            m, v = 0.9 * m + 0.1 * g, max(0.999 * v, abs(g) + 1e-8)
            w -= LR / (1 - 0.9**t) * m / v
        found.append(w)
    return found


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adadelta", "adam", "adamax"])
def test_adaptive_ones(name: str) -> None:
    assert steps({"optimizer": name}) == pytest.approx(adaptive(name), rel=1e-9)


def test_descent_and_momentum() -> None:
    assert steps({"optimizer": "sgd"}) == pytest.approx([0.9, 0.81])
    # v = 1, w = 0.9; v = 0.9 + 0.9 = 1.8, w = 0.72
    assert steps({"optimizer": "momentum"}) == pytest.approx([0.9, 0.72])
    # step g + 0.9·v: 1.9, w = 0.81; v = 0.9 + 0.81 = 1.71, step 0.81 + 1.539 = 2.349, w = 0.5751
    assert steps({"optimizer": "nesterov"}) == pytest.approx([0.81, 0.5751])


def test_nadam_goes_further_than_adam_at_first() -> None:
    # Dozat's first step: momentum coefficients mu1 and mu2 of torch's decay 0.004.
    mu1, mu2 = 0.9 * (1 - 0.5 * 0.96**0.004), 0.9 * (1 - 0.5 * 0.96**0.008)
    step = LR * (1 - mu1) / (1 - mu1) + LR * mu2 * 0.1 / (1 - mu1 * mu2)
    assert steps({"optimizer": "nadam"}, 1) == pytest.approx([1 - step], rel=1e-6)


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_weight_decay_and_rate_reach_every_optimizer(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(()))
    optimizer = make_optimizer(
        TrainConfig.from_recipe(None, {"optimizer": name, "weight_decay": 0.25}), [weight]
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25]
    set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]


def test_there_are_nine() -> None:
    assert len(get_args(Optimizer)) == 9
