"""Multiply–accumulates and parameters of every operator that multiplies, by formulas written by hand and by PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from enxuto.errors import ModelError
from enxuto.onnx_model import Model
from enxuto.summary import Summary, summarize_module, summarize_onnx
from enxuto.summary.cost import is_pool, is_product
from enxuto.summary.onnx_products import _einsum, einsum_shape, is_uncounted

FLOAT, INT64, UINT8, INT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.INT8
N = helper.make_node


def tensor(name: str, *shape: int, kind: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, kind), name)


def counted(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    weights: list[onnx.TensorProto],
    *,
    opset: int = 21,
    domains: tuple[str, ...] = (),
    given: tuple[int, ...] | None = None,
) -> Summary:
    """The table of a graph whose output is `y`."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_empty_tensor_value_info("y")], weights,
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return summarize_onnx(Model.from_proto(model), input_shape=given)


def totals(summary: Summary) -> tuple[int, int, int]:
    """(MACs, weights, biases)"""
    return summary.macs, summary.weights, summary.parameters - summary.weights


# --- recurrent layers

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("extras", ["plain", "bias", "states", "lengths"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", GATES)
def test_recurrent_layers(kind: str, direction: str, extras: str, layout: int) -> None:
    """steps · directions · gates · hidden · (inputs + hidden); first states and lengths are no parameters."""
    steps, size, hidden, gates = 10, 8, 6, GATES[kind]
    ways = 2 if direction == "bidirectional" else 1
    weights = [tensor("w", ways, gates * hidden, size), tensor("r", ways, gates * hidden, hidden)]
    names = ["x", "w", "r", "", "", ""]
    if extras != "plain":
        names[3] = "b"
        weights.append(tensor("b", ways, 2 * gates * hidden))
    if extras == "lengths":
        names[4] = "l"
        weights.append(numpy_helper.from_array(np.array([steps], np.int32), "l"))
    if extras == "states":
        names[5] = "h"
        weights.append(tensor("h", *((1, ways) if layout else (ways, 1)), hidden))
        if kind == "LSTM":
            names += ["h", "p"]
            weights.append(tensor("p", ways, 3 * hidden))
    node = N(kind, names, ["y"], hidden_size=hidden, direction=direction, layout=layout)
    shape = [1, steps, size] if layout else [steps, 1, size]
    found = counted([node], {"x": (FLOAT, shape)}, weights)
    peepholes = ways * 3 * hidden if "p" in names else 0
    assert found.macs == steps * ways * gates * hidden * (size + hidden)
    assert found.weights == ways * gates * hidden * (size + hidden) + peepholes
    assert found.parameters - found.weights == (0 if extras == "plain" else ways * 2 * gates * hidden)
    assert found.remarks == ()


@pytest.mark.parametrize("kind", GATES)
def test_recurrent_layers_for_one_of_several_sequences(kind: str) -> None:
    """Steps first: the batch is the second axis, whatever the first one is."""
    weights = [tensor("w", 1, GATES[kind] * 6, 8), tensor("r", 1, GATES[kind] * 6, 6)]
    node = N(kind, ["x", "w", "r"], ["y"], hidden_size=6)
    one = 10 * GATES[kind] * 6 * 14
    assert counted([node], {"x": (FLOAT, [10, 3, 8])}, weights).macs == one
    assert counted([node], {"x": (FLOAT, [10, "N", 8])}, weights).macs == one
    opened = counted([node], {"x": (FLOAT, ["T", "N", 8])}, weights)
    assert opened.macs == one // 10
    assert "length of sequences is open" in opened.remarks[0]
    later = [N("Relu", ["x"], ["a"]), N(kind, ["a", "w", "r"], ["", "y"], hidden_size=6)]
    assert counted(later, {"x": (FLOAT, [10, 3, 8])}, weights).macs == one
    with_batch_first = [
        N("Transpose", ["x"], ["a"], perm=[1, 0, 2]),
        N(kind, ["a", "w", "r"], ["y"], hidden_size=6),
    ]
    assert counted(with_batch_first, {"x": (FLOAT, ["N", 10, 8])}, weights).macs == one


# --- Einsum

EINSUMS = [
    ("bchw,dc->bdhw", [(1, 4, 8, 8), (6, 4)], 6 * 64 * 4),
    ("bij,jk->bik", [(1, 3, 5), (5, 7)], 3 * 5 * 7),
    ("bij,jk", [(1, 3, 5), (5, 7)], 3 * 5 * 7),
    ("...j,jk->...k", [(1, 3, 5), (5, 7)], 3 * 5 * 7),
    ("...ij,...jk->...ik", [(1, 2, 3, 5), (2, 5, 7)], 2 * 3 * 5 * 7),
    ("...ij,...jk", [(1, 2, 3, 5), (1, 5, 7)], 2 * 3 * 5 * 7),
    ("b h i d , b h j d -> b h i j", [(1, 2, 3, 4), (1, 2, 5, 4)], 2 * 3 * 5 * 4),
    ("bi,bi->b", [(1, 9), (1, 9)], 9),
    ("bi,j->bij", [(1, 3), (4,)], 12),
    ("bij->bji", [(1, 3, 4)], 0),
    ("bii->b", [(1, 3, 3)], 0),
    ("bii,i->b", [(1, 3, 3), (3,)], 3),
    ("bik,j->bj", [(1, 3, 4), (5,)], 5),
    ("bij,jk,kl->bil", [(1, 2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
    ("bi,bj,kij->bk", [(1, 3), (1, 4), (5, 3, 4)], 3 * 4 + 3 * 4 * 5),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "shapes", "macs"), EINSUMS)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    weights = [tensor(f"w{place}", *shape) for place, shape in enumerate(shapes[1:])]
    node = N("Einsum", ["x", *(one.name for one in weights)], ["y"], equation=equation)
    found = counted([node], {"x": (FLOAT, list(shapes[0]))}, weights)
    assert totals(found) == (macs, sum(prod(shape) for shape in shapes[1:]), 0)
    assert _einsum(equation, shapes) == macs
    operands = [np.ones(shape, np.float32) for shape in shapes]
    assert einsum_shape(equation, shapes) == np.einsum(equation, *operands).shape


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bhid,bhjd->bhij", "bi,jk->bk", "...ij,...jk->...ik"])
def test_einsum_is_what_its_loops_multiply(equation: str) -> None:
    """Of two operands whose indices all matter to both or to the result: one product for each point of all indices."""
    left, right = equation.split("->")[0].replace("...", "uv").split(",")
    sizes = {label: number + 2 for number, label in enumerate(sorted(set(left + right)))}
    shapes = [tuple(sizes[label] for label in term) for term in (left, right)]
    lone = {label for label in set(left + right) if (label in left) != (label in right)} - set(
        equation.split("->")[1]
    )
    assert _einsum(equation, shapes) == prod(size for label, size in sizes.items() if label not in lone)


# --- matrix products


@pytest.mark.parametrize(
    ("shapes", "constant", "macs"),
    [
        ([(1, 5), (5, 7)], 1, 35), ([(1, 3, 5), (5, 7)], 1, 105), ([(1, 2, 3, 5), (2, 5, 7)], 1, 210),
        ([(1, 5), (5,)], 1, 5), ([(4, 3), (1, 3, 5)], 0, 60), ([(3,), (1, 3, 5)], 0, 15),
        ([(1, 4, 3), (1, 3, 5)], None, 60),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["MatMul", "MatMulInteger", "QLinearMatMul"])
def test_matrix_products(kind: str, shapes: list[tuple[int, ...]], constant: int | None, macs: int) -> None:
    """Elements written, each a sum of as many products as the first operand's last axis has."""
    element, numbers = (FLOAT, np.float32) if kind == "MatMul" else (UINT8, np.uint8)
    weights = [] if constant is None else [tensor("ab"[constant], *shapes[constant], kind=numbers)]
    inputs = {"ab"[k]: (element, list(shapes[k])) for k in (0, 1) if k != constant}
    names = ["a", "b"]
    if kind == "QLinearMatMul":
        columns = shapes[1][-1]
        scales = [numpy_helper.from_array(np.float32(0.5), "s"), tensor("per", columns),
                  numpy_helper.from_array(np.uint8(3), "z"), tensor("zs", columns, kind=np.uint8)]  # fmt: skip
        wide = len(shapes[1]) > 1
        names = ["a", "s", "z", "b", "per" if wide else "s", "zs" if wide else "z", "s", "z"]
        weights += scales
    found = counted([N(kind, names, ["y"])], inputs, weights)
    assert totals(found) == (macs, 0 if constant is None else prod(shapes[constant]), 0)


@pytest.mark.parametrize("left_is_weight", [False, True])
@pytest.mark.parametrize("c", [None, (), (1,), (1, 1), (7,), (1, 7)])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("trans_a", [0, 1])
def test_gemm(trans_a: int, trans_b: int, c: tuple[int, ...] | None, left_is_weight: bool) -> None:
    a, b = ((5, 1) if trans_a else (1, 5)), ((7, 5) if trans_b else (5, 7))
    weights = [tensor("a", *a) if left_is_weight else tensor("b", *b)]
    if c is not None:
        weights.append(tensor("c", *c))
    node = N("Gemm", ["a", "b", *(["c"] if c is not None else [])], ["y"], transA=trans_a, transB=trans_b)
    inputs = {"b": (FLOAT, list(b))} if left_is_weight else {"a": (FLOAT, list(a))}
    found = counted([node], inputs, weights)
    batch = (b if left_is_weight else a)[0]
    assert found.macs == 35 // batch
    assert (found.weights, found.parameters - found.weights) == (
        5 if left_is_weight else 35, 0 if c is None else prod(c)
    )  # fmt: skip


# --- convolutions


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv"])
def test_convolutions(kind: str, bias: bool, group: int) -> None:
    """Each output (of a transposed one: each input) meets kernel · channels of its group."""
    channels, filters, side, kernel = 4, 6, 8, 3
    written = side - kernel + 1
    shape = (channels, filters // group, kernel, kernel) if kind == "ConvTranspose" else (
        filters, channels // group, kernel, kernel)  # fmt: skip
    integers = kind in ("ConvInteger", "QLinearConv")
    weights = [tensor("w", *shape, kind=np.uint8 if integers else np.float32)]
    inputs: dict[str, tuple[int, list[Any]]] = {
        "x": (UINT8 if integers else FLOAT, ["N", channels, side, side])
    }
    names, biases = ["x", "w"], 0
    if kind == "QLinearConv":
        weights += [numpy_helper.from_array(np.float32(0.5), "s"), numpy_helper.from_array(np.uint8(3), "z"),
                    tensor("per", filters), tensor("zs", filters, kind=np.uint8)]  # fmt: skip
        names = ["x", "s", "z", "w", "per", "zs", "s", "z"]
    elif kind == "ConvInteger":
        weights.append(numpy_helper.from_array(np.uint8(3), "z"))
        names += ["z"]
    elif kind == "DeformConv":
        inputs["o"] = (FLOAT, ["N", 2 * kernel * kernel, written, written])
        inputs["m"] = (FLOAT, ["N", kernel * kernel, written, written])
        names += ["o", "", "m"]
    if bias and kind != "ConvInteger":
        biases = filters
        weights.append(tensor("b", filters, kind=np.int32 if kind == "QLinearConv" else np.float32))
        if kind == "DeformConv":
            names[3] = "b"
        else:
            names.append("b")
    found = counted([N(kind, names, ["y"], group=group)], inputs, weights)
    places = channels * side**2 if kind == "ConvTranspose" else filters * written**2
    assert totals(found) == (places * prod(shape[1:]), prod(shape), biases)
    row = next(layer for layer in found.layers if layer.operator == kind)
    assert row.kernel == (kernel, kernel)
    assert row.flops == 2 * row.macs + (prod(row.output) if biases else 0)


# --- attention (opset 23)


@pytest.mark.parametrize("past", [0, 5])
def test_attention_of_four_axes(past: int) -> None:
    heads, queries, keys, size, values = 2, 3, 4, 8, 6
    inputs = {"q": (FLOAT, [1, heads, queries, size]), "k": (FLOAT, [1, heads, keys, size]),
              "v": (FLOAT, [1, heads, keys, values])}  # fmt: skip
    names = ["q", "k", "v"]
    if past:
        inputs |= {"pk": (FLOAT, [1, heads, past, size]), "pv": (FLOAT, [1, heads, past, values])}
        names += ["", "pk", "pv"]
    outputs = ["y", "nk", "nv"] if past else ["y"]
    found = counted([N("Attention", names, outputs)], inputs, [], opset=23)
    assert found.macs == heads * queries * (keys + past) * (size + values)


def test_attention_of_three_axes() -> None:
    heads, queries, keys, size = 2, 3, 4, 8
    inputs = {
        name: (FLOAT, [1, places, heads * size])
        for name, places in (("q", queries), ("k", keys), ("v", keys))
    }
    node = N("Attention", ["q", "k", "v"], ["y"], q_num_heads=heads, kv_num_heads=heads)
    assert counted([node], inputs, [], opset=23).macs == heads * queries * keys * 2 * size


# --- tables of words


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8, np.uint8])
def test_a_table_of_words_is_parameters(kind: Any) -> None:
    nodes = [N("Gather", ["t", "x"], ["y"])]
    assert totals(counted(nodes, {"x": (INT64, ["N", 5])}, [tensor("t", 11, 4, kind=kind)])) == (0, 44, 0)
    twice = [N("Gather", ["t", "x"], ["a"]), N("Gather", ["t", "x"], ["b"]), N("Add", ["a", "b"], ["y"])]
    assert counted(twice, {"x": (INT64, ["N", 5])}, [tensor("t", 11, 4)]).parameters == 44


def test_tables_that_are_no_words_are_no_parameters() -> None:
    """Indices are integers, and so is a table of places; a choice of channels is by constant indices of an image."""
    table = numpy_helper.from_array(np.arange(11, dtype=np.int64), "t")
    assert counted([N("Gather", ["t", "x"], ["y"])], {"x": (INT64, ["N", 5])}, [table]).parameters == 0
    indices = numpy_helper.from_array(np.arange(2, dtype=np.int64), "i")
    chosen = counted([N("Gather", ["x", "i"], ["y"], axis=1)], {"x": (FLOAT, ["N", 5, 4, 4])}, [indices])
    assert chosen.parameters == 0


# --- what is not counted says so


@pytest.mark.parametrize(
    ("node", "inputs", "domains", "name"),
    [
        (N("Fancy", ["x"], ["y"], domain="mine"), {"x": (FLOAT, [1, 4])}, ("mine",), "mine.Fancy"),
        (N("Attention", ["x"], ["y"], domain="com.microsoft"), {"x": (FLOAT, [1, 3, 4])}, ("com.microsoft",),
         "com.microsoft.Attention"),
        (N("MatMul", ["x", "x"], ["y"], domain="mine"), {"x": (FLOAT, [1, 4])}, ("mine",), "mine.MatMul"),
        (N("Det", ["x"], ["y"]), {"x": (FLOAT, [1, 4, 4])}, (), "Det"),
        (N("GridSample", ["x", "g"], ["y"]), {"x": (FLOAT, [1, 2, 4, 4]), "g": (FLOAT, [1, 3, 3, 2])}, (),
         "GridSample"),
        (N("DFT", ["x", "", "a"], ["y"]), {"x": (FLOAT, [1, 8, 1])}, (), "DFT"),
    ],
)  # fmt: skip
def test_what_is_not_counted_is_named(
    node: onnx.NodeProto, inputs: dict[str, Any], domains: tuple[str, ...], name: str
) -> None:
    weights = [numpy_helper.from_array(np.int64(1), "a")] if node.op_type == "DFT" else []
    found = counted([node], inputs, weights, domains=domains)
    assert found.macs == 0
    assert any(f"what {name} compute is not counted" in remark for remark in found.remarks)


def test_every_operator_of_onnx_is_decided() -> None:
    """Counted, free by the convention, or named in a remark; a new one is named until somebody decides."""
    named = {
        schema.name for schema in onnx.defs.get_all_schemas()
        if schema.domain == "" and is_uncounted(N(schema.name, [], []))
    }  # fmt: skip
    multiply = {"DFT", "STFT", "Det", "GridSample", "AffineGrid", "RoiAlign", "MelWeightMatrix"}
    assert multiply <= named
    assert not {name for name in named if is_product(name) or is_pool(name)}
    for name in (
        "Conv",
        "Gemm",
        "Einsum",
        "LSTM",
        "Relu",
        "Softmax",
        "Concat",
        "GlobalMaxPool",
        "ReduceMean",
    ):
        assert name not in named


def test_a_product_whose_shapes_are_not_known_is_refused() -> None:
    nodes = [N("Fancy", ["x"], ["a"], domain="mine"), N("MatMul", ["a", "w"], ["y"])]
    with pytest.raises(ModelError, match="E032"):
        counted(nodes, {"x": (FLOAT, [1, 4])}, [tensor("w", 4, 4)], domains=("mine",))


# --- modules of PyTorch


class First(nn.Module):
    """The first of what a module gives, from its first input as many times as it takes."""

    def __init__(self, module: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.module, self.times = module, times

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.module(*[image] * self.times)
        return found[0] if isinstance(found, tuple) else found


class Calls(nn.Module):
    """A function of the image and one weight."""

    def __init__(self, call: Callable[..., torch.Tensor], *shape: int) -> None:
        super().__init__()
        self.weight, self.call = nn.Parameter(torch.zeros(shape)), call

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.call(image, self.weight)


class Steps(nn.Module):
    """A recurrence written by hand, from zeros: its first step does not depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.on = nn.Linear(8, 6), nn.Linear(6, 6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        state = image.new_zeros(1, 6)
        for step in image.unbind(1):
            state = torch.tanh(self.into(step) + self.on(state))
        return state


def recurrent(kind: str, **options: Any) -> nn.Module:
    return First(getattr(nn, kind)(8, 6, **options))


RECURRENTS = [
    recurrent(kind, **options)
    for kind in ("LSTM", "GRU", "RNN")
    for options in ({}, {"bidirectional": True}, {"bias": False}, {"num_layers": 2, "bidirectional": True},
                    {"batch_first": True})
] + [recurrent("LSTM", proj_size=3, num_layers=2), recurrent("RNN", nonlinearity="relu")]  # fmt: skip


@pytest.mark.parametrize("module", RECURRENTS, ids=repr)
def test_recurrent_modules(module: nn.Module) -> None:
    """Each weight once for each step, as PyTorch's own counter sees, where it sees anything."""
    steps = 10
    found = summarize_module(module, (steps, 8))
    matrices = sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)
    assert found.macs == steps * matrices
    assert found.parameters == sum(weight.numel() for weight in module.parameters())
    assert found.weights == matrices
    assert found.remarks == ()
    assert [layer.operator for layer in found.layers] == [type(module.module).__name__]
    with FlopCounterMode(display=False) as counter, torch.no_grad(), warnings.catch_warnings(action="ignore"):
        module(torch.zeros(1, steps, 8))
    assert counter.get_total_flops() in (0, 2 * found.macs)  # an LSTM in one fused call is not seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells(kind: str, bias: bool) -> None:
    module = recurrent(kind, bias=bias)
    found = summarize_module(module, (8,))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 8))
    assert found.macs == counter.get_total_flops() // 2
    assert found.parameters == sum(weight.numel() for weight in module.parameters())
    assert found.remarks == ()


MODULES: list[tuple[nn.Module, tuple[int, ...], int]] = [
    (First(nn.MultiheadAttention(8, 2, batch_first=True), 3), (10, 8), 10 * 8 * 24 + 2 * 2 * 100 * 4 + 10 * 8 * 8),
    (First(nn.Bilinear(8, 8, 5), 2), (10, 8), 10 * 5 * 8 * 8),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (10, 8), 10 * 8 * 32 + 1600 // 2 * 2 + 2 * 10 * 8 * 16),
    (nn.Conv2d(4, 6, 3, groups=2), (4, 8, 8), 36 * 6 * 2 * 9),
    (nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2), (4, 8, 8), 64 * 4 * 3 * 9),
    (nn.Conv1d(4, 6, 3), (4, 8), 6 * 6 * 4 * 3),
    (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 27 * 3 * 2 * 8),
    (nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 3)), (5,), 5 * 12),
    (Calls(lambda x, w: torch.einsum("bchw,dc->bdhw", x, w), 6, 4), (4, 8, 8), 6 * 64 * 4),
    (Calls(lambda x, w: F.scaled_dot_product_attention(x, w, w), 1, 2, 5, 8), (2, 3, 8), 2 * 3 * 5 * 16),
    (Calls(lambda x, w: torch.mv(w, x[0]), 7, 5), (5,), 35),
    (Calls(lambda x, w: torch.addmv(x[0], w, x[0]), 5, 5), (5,), 25),
    (Calls(lambda x, w: torch.dot(x[0], w), 5), (5,), 5),
    (Calls(lambda x, w: torch.addbmm(w[0], w, x.expand(3, 5, 5)), 3, 5, 5), (5, 5), 375),
    (Calls(lambda x, w: torch.baddbmm(x, x, w), 1, 5, 5), (5, 5), 125),
]  # fmt: skip


@pytest.mark.parametrize(("module", "shape", "macs"), MODULES, ids=lambda value: type(value).__name__)
def test_modules(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    found = summarize_module(module, shape)
    assert found.macs == macs
    assert found.parameters == sum(weight.numel() for weight in module.parameters())
    assert found.remarks == ()


@pytest.mark.parametrize("frozen", ["all", "some", "none"])
def test_frozen_parameters_count(frozen: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    if frozen != "none":
        (network if frozen == "all" else network[0]).requires_grad_(False)
    found = summarize_module(network, (3, 8, 8))
    assert found.parameters == 516
    said = {"all": ["516 parameters are frozen: counted, but not trained"],
            "some": ["224 parameters are frozen: counted, but not trained"], "none": []}  # fmt: skip
    assert list(found.remarks) == said[frozen]


def _old_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)  # type: ignore[no-any-return]


def _computed_once(layer: nn.Linear) -> nn.Module:
    layer.scaled = 2 * layer.weight  # type: ignore[assignment]
    return layer


@pytest.mark.parametrize(
    ("wrap", "parameters"),
    [
        (_old_norm, 8 * 5 + 5 + 5),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), 8 * 5 + 5),
        (lambda layer: prune.ln_structured(layer, "weight", 0.5, 2, 0), 8 * 5 + 5),
        (_computed_once, 8 * 5 + 5),
    ],
    ids=["weight_norm by a hook", "masks by a hook", "masks of rows by a hook", "an attribute"],
)
def test_modules_with_tensors_computed_of_their_parameters(
    wrap: Callable[[nn.Linear], nn.Module], parameters: int
) -> None:
    """`deepcopy` alone refuses them, as attributes that are no leaves of the graph."""
    module = nn.Sequential(wrap(nn.Linear(8, 5)), nn.ReLU())
    found = summarize_module(module, (8,))
    assert (found.macs, found.parameters) == (40, parameters)
    assert module(torch.ones(1, 8)).shape == (1, 5)


@pytest.mark.parametrize(
    "error", [AssertionError("five"), KeyError("five"), AttributeError(), ZeroDivisionError("five"), OSError("five")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_forward_raises_is_one_line(error: Exception) -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    with pytest.raises(ModelError, match=r"does not run on an input of 8: .*(five|AttributeError)"):
        summarize_module(Failing(), (8,))


def test_a_module_without_shapes_yet_is_refused() -> None:
    with pytest.raises(ModelError, match="E034"):
        summarize_module(nn.LazyLinear(3), (8,))


def test_parameters_that_are_computed_with_before_they_are_used_count_all() -> None:
    """Of a sum, a product or a normalisation of several parameters each is counted, once."""
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 6))
    assert summarize_module(normed, (8,)).parameters == sum(p.numel() for p in normed.parameters())

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.a, self.b = (
                nn.Linear(8, 6),
                nn.Linear(2, 6, bias=False),
                nn.Linear(8, 2, bias=False),
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return F.linear(image, self.base.weight + self.a.weight @ self.b.weight, self.base.bias)

    for module, shape in ((Adapted(), (8,)), (Steps(), (10, 8))):
        found = summarize_module(module, shape)
        assert found.parameters == sum(weight.numel() for weight in module.parameters())
        assert found.remarks == ()


def test_modules_that_do_not_run_and_what_is_not_counted_are_named() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(8, 6), nn.Linear(3, 3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(self.used(image)).real

    remarks = summarize_module(Idle(), (8,)).remarks
    assert remarks[0] == "12 trainable parameters are in modules that do not run in inference"
    assert "fft" in remarks[1]
    assert "not counted" in remarks[1]
    with pytest.raises(ModelError, match="does not run on an input of 7"):
        summarize_module(nn.Linear(8, 6), (7,))


@pytest.mark.parametrize(
    "equation", ["", "b", "b.i,ij->b", "b..i,ij", "...i,jk,l->...", "...bi....,ij->b", "...i,ij->z"]
)
def test_an_einsum_that_makes_no_sense_is_refused(equation: str) -> None:
    node = N("Einsum", ["x", "w"], ["y"], equation=equation)
    with pytest.raises(ModelError):
        counted([node], {"x": (FLOAT, [1, 3])}, [tensor("w", 3, 4)]).to_dict()
