"""DeepLIFT of networks that go on with masks, places and detached values: refused by name, or exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto import zoo
from enxuto.errors import ModelError
from enxuto.prune.attribution.deeplift import Attribution, deeplift
from enxuto.prune.attribution.references import zero_reference
from enxuto.prune.criteria.relevance import relevance
from enxuto.prune.criteria.scores import scores

torch.set_num_threads(1)
Middle = Callable[[Tensor], Tensor]


class Body(nn.Module):
    """3 channels → convolution to 6 → `middle` → average → 4 classes."""

    def __init__(self, middle: Middle) -> None:
        super().__init__()
        self.first, self.fc, self.middle = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4), middle
        self.register_buffer("held", torch.zeros(1, 6, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        y = self.middle(self.first(images))
        logits: Tensor = self.fc(y.flatten(2).mean(2))
        return logits


def body(middle: Middle) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Body(middle)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def set_by_mask(y: Tensor) -> Tensor:
    y[y < 0] = 0
    return y


def put_by_mask(y: Tensor) -> Tensor:
    return y.index_put((y < 0,), torch.zeros(()))


def filled_in_place(y: Tensor) -> Tensor:
    return y.masked_fill_(y < 0, 0.0)


def multiplied_in_place(y: Tensor) -> Tensor:
    y *= y > 0
    return y


def built_mask(y: Tensor) -> Tensor:
    mask = torch.zeros_like(y)
    mask[y > 0] = 1
    return y * mask


def copied_mask(y: Tensor) -> Tensor:
    mask = torch.zeros(y.shape)
    mask.copy_(y.detach() > 0)
    return y * mask


def without_gradient(y: Tensor) -> Tensor:
    with torch.no_grad():
        gate = torch.sigmoid(y)
    return y * gate


def in_inference_mode(y: Tensor) -> Tensor:
    with torch.inference_mode():
        gate = y > 0
    return y * gate.clone()


def overwritten_without_gradient(y: Tensor) -> Tensor:
    with torch.no_grad():
        y.clamp_(min=0)
    return y


def data_overwritten(y: Tensor) -> Tensor:
    y.data.mul_(0.5)
    return y


def detached_in_place(y: Tensor) -> Tensor:
    gate = y * 1
    gate.detach_()
    return y * gate


def largest_channels(y: Tensor) -> Tensor:
    return y.gather(1, y.argmax(1, keepdim=True)).expand_as(y)


def one_hot_channels(y: Tensor) -> Tensor:
    return y * F.one_hot(y.argmax(1), 6).movedim(-1, 1)


def sorted_places(y: Tensor) -> Tensor:
    return y.take_along_dim(torch.argsort(y, 1), 1)


def chosen_images(y: Tensor) -> Tensor:
    return y[torch.arange(len(y)), y.detach().mean((2, 3)).argmax(1)][:, None].expand(-1, 6, -1, -1)


def by_number(y: Tensor) -> Tensor:
    return y / float(y.detach().abs().max())


def by_numpy(y: Tensor) -> Tensor:
    return y * torch.from_numpy((y.detach().numpy() > 0).astype(np.float32))


REFUSED: dict[str, tuple[Middle, str]] = {
    "product with a mask": (lambda y: y * (y > 0), "gt"),
    "mask on the left": (lambda y: (y > 0) * y, "gt"),
    "mask of numbers": (lambda y: y * (y > 0).float(), "gt"),
    "mask of another kind": (lambda y: y.mul((y >= 0).to(y.dtype)), "ge"),
    "mask turned round": (lambda y: y * (1 - (y <= 0).float()), "le"),
    "mask by not": (lambda y: y * ~(y <= 0), "le"),
    "mask of two": (lambda y: y * ((y > 0) & (y < 6)), "gt|lt"),
    "mask of a comparison function": (lambda y: y * torch.gt(y, 0), "gt"),
    "mask of its mean": (lambda y: y * (y > y.mean()), "gt"),
    "mask of a detached copy": (lambda y: y * (y.detach() > 0), "detach"),
    "mask of zero": (lambda y: y * y.ne(0), "ne"),
    "mask multiplied in place": (multiplied_in_place, "gt"),
    "quotient by a mask": (lambda y: y / (1 + (y > 0).float()), "gt"),
    "sum with a mask": (lambda y: y + (y > 0), "gt"),
    "where": (lambda y: torch.where(y > 0, y, 0.1 * y), "gt"),
    "where of constants": (lambda y: torch.where(y > 0, 1.0, -1.0) * y, "gt"),
    "filled": (lambda y: y.masked_fill(y < 0, 0.0), "lt"),
    "filled in place": (filled_in_place, "lt"),
    "set": (set_by_mask, "lt"),
    "put": (put_by_mask, "lt"),
    "a mask built in place": (built_mask, "gt"),
    "a mask copied": (copied_mask, "detach"),
    "places by booleans": (lambda y: y * y[y > 0].sum(), "gt"),
    "places that are not zero": (lambda y: y[:, torch.nonzero(y[0, :, 0, 0])[:, 0]], "nonzero"),
    "largest": (largest_channels, "argmax"),
    "one hot": (one_hot_channels, "argmax"),
    "sort": (lambda y: y.sort(1)[0], "sort"),
    "argsort": (sorted_places, "argsort"),
    "topk": (lambda y: y.topk(6, 1)[0], "topk"),
    "maximum of an axis": (lambda y: y.max(1, keepdim=True)[0].expand_as(y), "max"),
    "places by a detached choice": (chosen_images, "detach"),
    "maximum, detached": (lambda y: y / y.amax((1, 2, 3), keepdim=True).detach(), "amax|detach"),
    "norm, detached": (lambda y: y / y.detach().pow(2).sum((1, 2, 3), keepdim=True).sqrt(), "detach"),
    "detached": (lambda y: y.detach(), "detach"),
    "detached in part": (lambda y: torch.cat((y[:, :3], y[:, 3:].detach()), 1), "detach"),
    "data": (lambda y: y * y.data, "data"),
    "data overwritten": (data_overwritten, "mul|data"),
    "detached in place": (detached_in_place, "detach_"),
    "gradients off": (without_gradient, "sigmoid"),
    "inference": (in_inference_mode, "gt"),
    "overwritten with gradients off": (overwritten_without_gradient, "clamp"),
    "sign": (lambda y: y * y.sign(), "sign"),
    "sign of a copy": (lambda y: y * torch.sign(y.detach()), "detach"),
    "round": (lambda y: (4 * y).round() / 4, "round"),
    "round in place": (lambda y: (4 * y).round_(), "round"),
    "floor": (lambda y: y - y.floor(), "floor"),
    "ceil": (lambda y: y.ceil(), "ceil"),
    "whole numbers": (lambda y: (4 * y).int().float(), "int"),
    "whole numbers by to": (lambda y: (4 * y).to(torch.int32) * y, "to"),
    "step": (lambda y: y * torch.heaviside(y.detach(), torch.ones(())), "detach"),
    "quotient rounded": (lambda y: torch.div(y, 0.25, rounding_mode="floor"), "div"),
    "quotient by its like, rounded": (lambda y: torch.div(y, 1 + y.abs(), rounding_mode="trunc"), "div"),
    "floor division": (lambda y: y // 0.25, "floor"),
    "remainder": (lambda y: y % 0.3, "remainder"),
    "limits": (lambda y: y.clamp(max=y.mean()), "clamp"),
    "limits, detached": (lambda y: y.clamp(max=y.detach().mean()), "detach"),
    "a limit by name": (lambda y: torch.clamp(torch.ones(()), max=y), "clamp"),
    "limits of another shape": (lambda y: y.mean((2, 3), keepdim=True).clamp(min=torch.zeros(8, 8)), "clamp"),
    "an exponent": (lambda y: torch.pow(torch.full((), 2.0), y), "pow"),
    "an exponent on a number": (lambda y: torch.pow(2.0, y), "pow"),
    "a number read": (by_number, "way depends on the values"),
    "another library": (by_numpy, "numpy"),
    "largest of two": (lambda y: torch.maximum(y, torch.zeros(())), "maximum"),
    "softmax": (lambda y: y.softmax(1), "softmax"),
    "bias from the images": (lambda y: F.linear(y.movedim(1, -1), torch.ones(6, 6), y.mean((0, 2, 3))).movedim(-1, 1),
                             "first two|linear"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name: str) -> None:
    middle, function = REFUSED[name]
    network, images = body(middle), random(3, 3, 8, 8)
    with pytest.raises(ModelError, match=function) as caught:
        deeplift(network, images)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("attribution cannot pass ")
    if "read" not in name:  # one run alone has one way, and relevance may follow it
        with pytest.raises(ModelError):
            relevance(network, images, torch.zeros(3, dtype=torch.int64))


class Counted(nn.Module):
    """Looks at its activations, and keeps nothing of that in what it gives."""

    def forward(self, y: Tensor) -> Tensor:
        assert not torch.isnan(y).any()
        if bool((y.detach().abs() > 1e6).all()):
            raise ValueError
        self.share = (y > 0).float().mean()
        self.seen = y.detach().clone()
        zeros, ones = torch.zeros_like(y), y.new_ones(y.shape)
        return F.relu(y).view_as(self.seen) * ones + zeros


def second_by_name(y: Tensor) -> Tensor:
    return torch.mul(y, other=torch.div(y, other=1 + y.abs()))


def part_set(y: Tensor) -> Tensor:
    y[:, ::2] = 0  # places that no image chooses
    return y.relu()


def part_written(y: Tensor) -> Tensor:
    whole = torch.zeros(y.shape, dtype=y.dtype)
    whole[:, :3] = y[:, 3:].relu()
    return whole


EXACT: dict[str, Middle] = {
    "relu": F.relu,
    "looked at": Counted(),
    "second factor by name": second_by_name,
    "fixed places": part_set,
    "written into zeros": part_written,
    "a fixed mask": lambda y: y.relu().masked_fill(torch.eye(8, dtype=torch.bool), 0.5),
    "where they lie last": lambda y: F.max_pool2d(y.to(memory_format=torch.channels_last), 2).relu(),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_chooses_nothing_by_the_images_adds_up(name: str) -> None:
    made = deeplift(body(EXACT[name]).double(), random(3, 3, 8, 8).double(), reference=zero_reference)
    assert made.relative_error < 1e-9


def test_a_rectifier_that_is_looked_at_scores_as_one_that_is_not() -> None:
    data = [(random(8, 3, 8, 8), torch.arange(8) % 4)]
    expected, found = (scores(body(EXACT[name]), data, "deeplift") for name in ("relu", "looked at"))
    np.testing.assert_array_equal(found["first"], expected["first"])


class Hidden(torch.autograd.Function):
    """A rectifier whose gradient goes straight through: no rule sees it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


@pytest.mark.parametrize("count", [1, 5])
def test_contributions_that_miss_the_change_are_an_error(count: int) -> None:
    network = body(lambda y: Hidden.apply(y))  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"miss the change of a score by \d"):
        deeplift(network, random(count, 3, 8, 8))
    with pytest.raises(ModelError, match="E032"):
        scores(network, [(random(count, 3, 8, 8), torch.zeros(count, dtype=torch.int64))], "deeplift")


def test_one_image_of_many_that_misses_is_an_error() -> None:
    def seldom(y: Tensor) -> Tensor:
        return torch.cat((y[:1], F.relu(y[1:]))) if len(y) < 2 else torch.cat((Hidden.apply(y[:1]), y[1:]))

    images = random(40, 3, 8, 8)
    images[1:] *= 50
    with pytest.raises(ModelError, match="E032"):
        deeplift(body(seldom), images, torch.zeros(40, dtype=torch.int64), reference=zero_reference)


def test_a_change_of_nothing_is_no_error() -> None:
    """Images that are their own references; and images whose contributions cancel, in single precision."""
    network, images = body(F.relu), random(4, 3, 8, 8)
    same = deeplift(network, images, reference=lambda given: given.clone())
    assert same.relative_error == 0.0
    assert float(same.images.abs().sum()) == 0.0
    flipped = deeplift(network, images, reference=lambda given: given.flip(0).flip(0))
    assert flipped.relative_error == 0.0
    # Averages do not see where a pixel is: a plane that rolls changes no score, though every contribution differs.
    linear = body(lambda y: y)
    linear.first.padding_mode, linear.first.padding = "zeros", (0, 0)
    rolled = deeplift(
        linear.double(), images.double(), reference=lambda given: given + 1e-9 * given.roll(1, 3)
    )
    assert rolled.relative_error < 1e-3


def test_the_relative_error_of_a_change_that_cancels() -> None:
    made = Attribution(
        {}, torch.tensor([[1.0, -1.0]]), torch.zeros(1), torch.zeros(1), torch.full((1,), 1e-7)
    )
    assert made.relative_error == pytest.approx(1e-7 / 2e-6)
    nothing = Attribution({}, torch.zeros(1, 2), torch.zeros(1), torch.zeros(1), torch.zeros(1))
    assert nothing.relative_error == 0.0


@pytest.mark.parametrize("name", ["lenet5", "mobilenet-v2-cifar"])
def test_single_precision_of_the_zoo_is_within_its_rounding(name: str) -> None:
    """Images that hardly differ from their references: a change near the last digits of the scores."""
    images = random(2, *zoo.input_shape(name))
    for step in (1e-1, 1e-3, 1e-5):
        deeplift(zoo.build(name, seed=0), images, reference=lambda given, step=step: given * (1 - step))
