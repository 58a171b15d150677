"""What every network keeps: classes and channels, seeds, activations, gradients, export."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from zoo_walk import ACTIVATIONS, meta, walk_named

from enxuto import zoo
from enxuto.zoo.alexnet import caffe_norm, paper_norm
from enxuto.zoo.googlenet import GoogLeNetOutput

torch.set_num_threads(1)

SMALL = [name for name in zoo.names() if zoo.input_shape(name)[1] == 32 and zoo.entry(name).macs < 1.5e8]


class Recorder(TorchDispatchMode):
    """Counts the operators below torch's modules, functional calls included."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        self.operators[function.overloadpacket.__name__] += 1
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("name", zoo.names())
def test_activations_are_modules_used_once_and_nothing_works_in_place(name: str) -> None:
    calls = walk_named(name).activations
    assert calls
    assert set(calls.values()) == {1}
    network = meta(name)
    assert not [layer for layer in network.modules() if getattr(layer, "inplace", False)]
    with Recorder() as recorder, torch.no_grad():
        network(torch.empty(1, *zoo.input_shape(name), device="meta"))
    functional = sum(recorder.operators[operator] for operator in ("relu", "hardtanh", "clamp", "tanh"))
    assert functional == len(calls)
    assert not [operator for operator in recorder.operators if operator.endswith("_")]


def test_activations_of_every_kind_are_known_to_the_tests() -> None:
    kinds = {type(layer) for name in zoo.names() for layer in meta(name).modules()}
    assert {kind for kind in kinds if kind.__module__ == "torch.nn.modules.activation"} == set(ACTIVATIONS)


@pytest.mark.parametrize("name", zoo.names())
def test_any_number_of_classes_and_channels(name: str) -> None:
    height, width = zoo.input_shape(name)[1:]
    network = meta(name, classes=7, channels=2)
    with torch.no_grad():
        assert network(torch.empty(2, 2, height, width, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_weights_and_the_global_state_stays(name: str) -> None:
    before = torch.get_rng_state()
    first, second, other = (zoo.build(name, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_without_a_seed_the_weights_come_from_the_global_state() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first = zoo.build("lenet5").state_dict()
        second = zoo.build("lenet5").state_dict()
        torch.manual_seed(5)
        again = zoo.build("lenet5").state_dict()
    assert not torch.equal(first["features.c1.weight"], second["features.c1.weight"])
    assert torch.equal(first["features.c1.weight"], again["features.c1.weight"])


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_reaches_every_parameter(name: str) -> None:
    network = zoo.build(name, seed=0)
    assert network.training
    images = torch.rand(4, *zoo.input_shape(name), generator=torch.Generator().manual_seed(0))
    logits = network(images)
    assert logits.shape == (4, 10)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    for key, weights in network.named_parameters():
        assert weights.grad is not None, key
        assert torch.isfinite(weights.grad).all(), key


def test_auxiliary_heads_answer_in_training_only() -> None:
    with torch.device("meta"):
        network = zoo.build("googlenet", auxiliary=True, classes=5)
        images = torch.empty(2, 3, 224, 224)
    outputs = network(images)
    assert isinstance(outputs, GoogLeNetOutput)
    assert outputs._fields == ("logits", "auxiliary1", "auxiliary2")
    assert [tuple(tensor.shape) for tensor in outputs] == [(2, 5)] * 3
    assert network.eval()(images).shape == (2, 5)


def test_dropout_and_response_norm_stand_where_the_papers_have_them() -> None:
    def count(name: str, kind: str) -> int:
        return sum(type(layer).__name__ == kind for layer in meta(name).modules())

    dropouts = {"alexnet": 2, "caffenet": 2, "zfnet": 2, "vgg16": 2, "googlenet": 1, "squeezenet1_0": 1}
    assert {name: count(name, "Dropout") for name in dropouts} == dropouts
    norms = {
        "alexnet": 2,
        "caffenet": 2,
        "zfnet": 2,
        "googlenet": 2,
        "googlenet-bn": 0,
        "alexnet-one-tower": 0,
    }
    assert {name: count(name, "LocalResponseNorm") for name in norms} == norms
    assert [layer.groups for layer in meta("alexnet").modules() if isinstance(layer, nn.Conv2d)] == [
        1,
        2,
        1,
        2,
        2,
    ]
    assert sum(isinstance(layer, nn.Dropout) for layer in meta("vgg16", dropout=0.0).modules()) == 2


def test_initialisations_of_the_papers() -> None:
    alexnet = zoo.build("alexnet", seed=0, classes=2)
    conv2, conv3 = alexnet.get_submodule("features.conv2.conv"), alexnet.get_submodule("features.conv3.conv")
    assert conv3.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert conv2.bias.unique().tolist() == [1.0]
    assert conv3.bias.unique().tolist() == [0.0]
    resnet = zoo.build("resnet20-cifar", seed=0)
    last = resnet.get_submodule("features.stage3.2.body.conv2.conv")
    assert last.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    norms = [layer for layer in resnet.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.weight.eq(1).all() and layer.bias.eq(0).all() for layer in norms)
    conv1 = zoo.build("squeezenet1_1", seed=0).get_submodule("features.conv1.conv")
    assert conv1.weight.abs().max().item() == pytest.approx((3 / 27) ** 0.5, rel=0.01)
    f6 = zoo.build("lenet5", seed=0).get_submodule("classifier.f6")
    assert f6.weight.std().item() == pytest.approx(120**-0.5, rel=0.02)


def _exported(module: nn.Module, two: torch.Tensor, three: torch.Tensor) -> tuple[list[str], np.ndarray]:
    """Operators of the ONNX graph made with a batch of two, and its answer to a batch of three."""
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(module, (two,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (answer,) = session.run(None, {session.get_inputs()[0].name: three.numpy()})
    return [node.op_type for node in program.model_proto.graph.node], answer


# What may go wrong in an export, without exporting everything: option A, concatenation and depthwise,
# shuffle.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "part", "shape"),
    [
        ("resnet20-cifar", "", (3, 32, 32)),
        ("squeezenet-dsc", "features.fire2", (96, 8, 8)),
        ("shufflenet-cifar", "features.stage2", (24, 8, 8)),
    ],
)
def test_export_to_onnx_with_a_dynamic_batch(name: str, part: str, shape: tuple[int, int, int]) -> None:
    module = zoo.build(name, seed=0).eval().get_submodule(part)
    generator = torch.Generator().manual_seed(0)
    two, three = (torch.rand(count, *shape, generator=generator) for count in (2, 3))
    _, answer = _exported(module, two, three)
    with torch.no_grad():
        expected = module(three).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_local_response_norm_becomes_the_operator_with_the_same_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    two, three = (40 * torch.rand(count, 7, 3, 3, generator=generator) for count in (2, 3))
    squares = nn.functional.pad(three.square(), (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
    torch.testing.assert_close(paper_norm()(three), three / (2 + 1e-4 * squares) ** 0.75)
    torch.testing.assert_close(caffe_norm()(three), three / (1 + 1e-4 / 5 * squares) ** 0.75)
    operators, answer = _exported(paper_norm().eval(), two, three)
    assert operators == ["LRN"]
    np.testing.assert_allclose(answer, paper_norm()(three).numpy(), rtol=1e-5)
