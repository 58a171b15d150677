"""Scores of filters: each criterion against its definition worked by hand or by other means, and one interface."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto import zoo
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.prune.attribution.deeplift import deeplift
from enxuto.prune.attribution.references import constant_reference, zero_reference
from enxuto.prune.criteria.attribution import Conductance, DeepLift
from enxuto.prune.criteria.conductance import conductance
from enxuto.prune.criteria.relevance import relevance
from enxuto.prune.criteria.scores import CRITERIA, scores
from enxuto.prune.criteria.weights import Random

DATA_DRIVEN = ("gradient-activation", "taylor", "deeplift", "lrp", "conductance")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def small(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), activation(), nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 3), activation(), nn.Flatten(), nn.Linear(16, 7), activation(), nn.Linear(7, 5),
        ).double()
    )  # fmt: skip


def batches(count: int = 6, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    images, labels = random(count, 3, 8, 8).double(), torch.arange(count) % 5
    return list(zip(images.split(size), labels.split(size), strict=True))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_one_interface(criterion: str) -> None:
    network = small().train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    done: list[int] = []
    found = scores(network, batches(), criterion, progress=done.append)
    assert {name: values.shape for name, values in found.items()} == {"0": (6,), "4": (4,), "7": (7,)}
    for values in found.values():
        assert values.dtype == np.float64
        assert (values >= 0).all()
        assert values.any()
    assert done == ([4, 6] if criterion in DATA_DRIVEN else [])
    assert network.training
    assert all(value.grad is None for value in network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    again = scores(network, (batch for batch in batches()), criterion)
    assert all(np.array_equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize("criterion", DATA_DRIVEN)
def test_mean_over_images_whatever_the_batches(criterion: str) -> None:
    one, many = scores(small(), batches(6, 6), criterion), scores(small(), batches(6, 1), criterion)
    for name in one:
        np.testing.assert_allclose(one[name], many[name], rtol=1e-9)


@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "random"])
def test_a_filter_that_does_nothing_is_the_lowest(criterion: str) -> None:
    network = small()
    with torch.no_grad():
        network[0].weight[2] = 0
        network[0].bias[2] = 0
        network[7].weight[5] = 0
        network[7].bias[5] = -1
    found = scores(network, batches(), criterion)
    assert found["0"][2] == 0 == found["0"].min()
    assert found["7"][5] == 0 == found["7"].min()


def test_norms_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 4, 1, groups=2), nn.Flatten(), nn.Linear(4, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 2.0]]).view(2, 2, 1, 1))
        network[0].bias.fill_(100.0)
        network[1].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]).view(2, 2, 1, 1))
    data = [(random(1, 2, 1, 1), torch.tensor([0]))]
    assert {k: v.tolist() for k, v in scores(network, data, "l1").items()} == {"0": [7, 2], "1": [1, 2, 3, 4]}
    assert {k: v.tolist() for k, v in scores(network, data, "l2").items()} == {"0": [5, 2], "1": [1, 2, 3, 4]}


def test_transposed_convolutions_with_several_inputs() -> None:
    layer = seeded(lambda: nn.ConvTranspose2d(4, 6, 3, groups=2))
    network = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    found = scores(network, [(random(1, 4, 4, 4), torch.tensor([0]))], "l1")["0"]
    for place in range(6):  # a filter's weights are those that its output depends on
        leaf = layer.weight.detach().clone().requires_grad_()
        F.conv_transpose2d(torch.ones(1, 4, 1, 1), leaf, groups=2)[0, place].sum().backward()
        assert found[place] == pytest.approx(float((leaf.abs() * leaf.grad).sum().detach()), rel=1e-6)


def test_random_goes_by_its_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one = scores(small(), batches(), Random(seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert all(np.array_equal(one[k], v) for k, v in scores(small(), batches(), Random(seed=1)).items())
    assert not any(np.array_equal(one[k], v) for k, v in scores(small(), batches(), Random(seed=2)).items())


class Steps(nn.Module):
    """A network whose first layer's output can be given instead of made."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4, 5)

    def after(self, a: Tensor) -> Tensor:
        logits: Tensor = self.fc(F.relu(self.second(F.silu(a, inplace=False)).mean((2, 3)), inplace=True))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.first(images))


def test_gradient_scores_by_autograd() -> None:
    network = seeded(Steps).double()
    images, labels = random(4, 3, 8, 8).double(), torch.tensor([0, 1, 2, 4])
    expected = torch.zeros(2, 6, dtype=torch.float64)
    for image, label in zip(images, labels, strict=True):
        a = network.first(image[None]).detach().requires_grad_()
        logits = network.after(a)
        (by_score,) = torch.autograd.grad(logits[0, label], a, retain_graph=True)
        (by_loss,) = torch.autograd.grad(-logits.log_softmax(1)[0, label], a)
        expected[0] += (a * by_score).detach().abs().sum((0, 2, 3)) / 4
        expected[1] += (a * by_loss).detach().mean((0, 2, 3)).abs() / 4
    for values, criterion in zip(expected, ("gradient-activation", "taylor"), strict=True):
        np.testing.assert_allclose(scores(network, [(images, labels)], criterion)["first"], values, rtol=1e-9)


def test_taylor_of_layers_called_with_several_tokens() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.fc = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(self.each(x).mean(1))
            return logits

    found = scores(seeded(Tokens), [(random(2, 9, 3), torch.tensor([0, 1]))], "taylor")
    assert {name: values.shape for name, values in found.items()} == {"each": (4,)}


def test_deeplift_scores_are_norms_of_attributions() -> None:
    network, data = small(), batches()
    found = scores(network, data, DeepLift(reference=zero_reference))
    total = sum(
        deeplift(network, images, labels, reference=zero_reference).layers["4"][0].abs().sum((0, 2, 3))
        for images, labels in data
    )
    np.testing.assert_allclose(found["4"], total / 6, rtol=1e-9)
    assert not np.allclose(found["4"], scores(network, data, "deeplift")["4"])


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Tanh])
def test_relevance_is_kept_from_the_score_to_the_pixels(activation: Callable[[], nn.Module]) -> None:
    network = small(activation)
    images, labels = batches(5, 5)[0]
    found = relevance(network, images, labels)
    torch.testing.assert_close(found.scores, network.eval()(images).gather(1, labels[:, None])[:, 0])
    for part in (
        found.images,
        *found.layers["0"],
        *found.layers["4"],
        *found.layers["7"],
        *found.layers["9"],
    ):
        torch.testing.assert_close(part.flatten(1).sum(1), found.scores, rtol=1e-8, atol=1e-10)


def test_relevance_by_hand() -> None:
    """x = (2, −1), W = ((1, −1), (−1, 3)): z = (3, −5), h = (3, 0), t = (1, 4)·h − 1 = 2.

    All 2 go back to h₁, and to x in proportion to 2·1 and (−1)·(−1): 4/3 and 2/3.
    """
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 3.0]]))
        network[2].weight.copy_(torch.tensor([[1.0, 4.0]]))
        network[2].bias.fill_(-1.0)
    found = relevance(network, torch.tensor([[2.0, -1.0]]), torch.tensor([0]))
    assert found.layers["2"][0].tolist() == [[2.0]]
    torch.testing.assert_close(found.layers["0"][0], torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(found.images, torch.tensor([[4 / 3, 2 / 3]]))


def test_relevance_takes_batch_norm_as_part_of_its_layer() -> None:
    network = small().eval()
    with torch.no_grad():
        norm = network[1]
        norm.running_mean.copy_(random(6))
        norm.running_var.copy_(random(6).abs() + 0.5)
        norm.weight.copy_(random(6, seed=1))  # of both signs
        norm.bias.copy_(random(6, seed=2))
    folded = nn.utils.fusion.fuse_conv_bn_eval(network[0], norm)
    images, labels = batches(5, 5)[0]
    one = relevance(network, images, labels)
    two = relevance(nn.Sequential(folded, *network[2:]), images, labels)
    torch.testing.assert_close(one.layers["0"][0], two.layers["0"][0])
    torch.testing.assert_close(one.images, two.images)


@pytest.mark.parametrize("name", ["resnet20-cifar", "mobilenet-v2-cifar", "squeezenet-dsc", "effnet"])
def test_relevance_is_kept_on_networks_of_the_zoo(name: str) -> None:
    network = zoo.build(name, seed=0)
    found = relevance(network, random(2, *zoo.input_shape(name)), torch.tensor([1, 3]))
    torch.testing.assert_close(found.images.sum((1, 2, 3)), found.scores, rtol=1e-4, atol=1e-6)


def test_conductance_is_complete() -> None:
    network = small(nn.Tanh)
    network[3] = nn.AvgPool2d(2)  # without corners, where the rule converges slowly
    images, labels = batches(4, 4)[0]
    logits = network.eval()(images) - network(torch.zeros_like(images))
    change = logits.gather(1, labels[:, None])[:, 0].detach()
    misses = []
    for steps in (20, 200):
        found = conductance(network, images, labels, reference=zero_reference, steps=steps)
        assert list(found) == ["0", "4", "7", "9"]
        misses.append(max(float((found[n][0].flatten(1).sum(1) - change).abs().max()) for n in found))
    assert misses[1] < 1e-3 * float(change.abs().max())
    assert misses[1] < misses[0] / 5


def test_conductance_of_an_affine_network_needs_one_step() -> None:
    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(4, 5))
    ).double()
    images, labels = batches(4, 4)[0]
    start = constant_reference(random(3, 8, 8, seed=5).double())
    one = conductance(network, images, labels, reference=start, steps=1)
    torch.testing.assert_close(one["0"][0], deeplift(network, images, labels, reference=start).layers["0"][0])


def test_conductance_equals_captums() -> None:
    from captum.attr import LayerConductance

    network = small(nn.Tanh)
    network[3] = nn.AvgPool2d(2)
    images, labels = batches(4, 4)[0]
    ours = conductance(network, images, labels, reference=zero_reference, steps=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated calls of torch
        theirs = LayerConductance(network.eval(), network[4]).attribute(images, target=labels, n_steps=200)
    torch.testing.assert_close(ours["4"][0], theirs, rtol=5e-3, atol=1e-5)


def test_squeezenet_scores_leave_the_last_convolution_out() -> None:
    found = scores(zoo.build("squeezenet-dsc", seed=0), [(random(1, 3, 32, 32), torch.tensor([0]))])
    assert "classifier.conv10.conv" not in found


def test_what_cannot_be_scored_is_refused() -> None:
    network, data = small(), batches()
    with pytest.raises(UsageError, match=r"l3.*choose one of l1"):
        scores(network, data, "l3")
    with pytest.raises(DataError, match="E043"):
        scores(network, [], "l1")
    with pytest.raises(DataError, match="E043"):
        scores(network, [(data[0][0][:0], data[0][1][:0])], "l1")
    with pytest.raises(DataError, match="float images"):
        scores(network, [(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))])
    with pytest.raises(DataError, match="as many integer labels"):
        scores(network, [(data[0][0], data[0][1][:2])])
    for criterion in DATA_DRIVEN:
        with pytest.raises(DataError, match="0…4"):
            scores(network, [(data[0][0][:2], torch.tensor([0, 5]))], criterion)
    with pytest.raises(UsageError, match="steps"):
        scores(network, data, Conductance(steps=0))
    with torch.no_grad():
        network[4].weight[1, 1, 1, 1] = float("nan")
    with pytest.raises(ModelError, match="4 has filters whose score is not a finite number"):
        scores(network, data, "l1")
