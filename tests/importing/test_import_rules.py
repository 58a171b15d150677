"""Every rule that makes a module, in every form of its operator, beside ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from import_forms import FORMS as OWN
from onnx import NodeProto, ValueInfoProto, helper

from enxuto.errors import ModelError
from enxuto.importing import load_module
from enxuto.importing.node import Node
from enxuto.importing.rules import RULES
from enxuto.importing.sizes import SIZE_RULES
from enxuto.importing.values import Value
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from rule_forms import FORMS as SHARED
from rule_forms import PLANE, POSITIVE, Form, floats, graph, integers, made, node

# What has derivatives but no module: said in docs/reference/importing.md.
WITHOUT = frozenset({
    "GRU", "GatherElements", "GatherND", "GlobalLpPool", "LSTM", "LpNormalization", "LpPool", "RMSNormalization", "RNN",
    "ScatterElements", "ScatterND", "SimplifiedLayerNormalization", "TopK", "Trilu",
})  # fmt: skip
REFUSED = ("average 1: dilated", "average 2: dilated", "average 3: dilated", "Resize: smoothed",
           "LayerNormalization by computed scales")  # fmt: skip
FORMS: dict[str, Form] = {
    **{
        name: form
        for name, form in SHARED.items()
        if name not in REFUSED
        and not WITHOUT & {item.op_type for item in form[0]}
        and not any(item.domain == "com.microsoft" for item in form[0])
    },
    **OWN,
}


def test_every_rule_is_in_the_suite() -> None:
    tested = {item.op_type for nodes, *_ in FORMS.values() for item in nodes} | {"Identity", "Flatten"}
    assert not set(RULES) - tested


@pytest.mark.parametrize("name", FORMS)
def test_the_module_of_every_form_computes_what_onnx_runtime_does(name: str) -> None:
    nodes, held, shape, opset = FORMS[name]
    model = Model.from_proto(graph(nodes, held, shape, opset))
    network = load_module(model)
    x = np.random.default_rng(2).permutation(np.linspace(-1, 1, 3 * int(np.prod(shape)))).astype(np.float32)
    x = x.reshape(3, *shape)  # another batch than the one that it was built with
    x = 1 + x / 4 if name.startswith(POSITIVE) else x
    with torch.no_grad():
        found = network(torch.from_numpy(x)).numpy()
    (expected,) = Runner(model, threads=1).run({"x": x})
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    near = 1e-3 if "half precision" in name else 1e-5
    np.testing.assert_allclose(found, expected, rtol=near, atol=near * float(np.abs(expected).max()))


def test_a_gather_of_all_numbers_in_their_order_is_no_layer_of_fixed_indices() -> None:
    """As PyTorch writes its adaptive average pool: channels can go only where no index counts them."""
    for name, counts in (("as_strided of an average", False), ("as_strided in another order", True)):
        network = load_module(Model.from_proto(graph(*FORMS[name])))
        assert ("Range_0" in dict(network.named_modules())) is counts


@pytest.mark.parametrize(
    ("nodes", "held", "shape", "opset"),
    [
        *(SHARED[name] for name in REFUSED),
        ([node("LRN", size=4)], {}, PLANE, 13),
        ([node("Conv", "h", "v")], {"v": floats(2, 3)}, PLANE, 13),
        ([made("MaxPool", ["h"], ["m", "y"], kernel_shape=[2, 2])], {}, PLANE, 12),
        ([made("Tanh", ["h"], ["w"]), node("Conv", "h", "w")], {}, PLANE, 13),
        ([node("ArgMax", select_last_index=1)], {}, PLANE, 13),
        ([node("Add", "h", "k", broadcast=1, axis=1)], {"k": floats(3)}, PLANE, 6),
        ([node("Cast", to=8)], {}, PLANE, 13),
        ([node("BatchNormalization", "h", *"kkkk", spatial=0)], {"k": floats(3)}, PLANE, 7),
        ([node("Resize", "h", "", "k")], {"k": np.array([1, 2, 1, 1], np.float32)}, PLANE, 13),
    ],
)
def test_a_form_without_a_module_is_refused_by_its_operator(
    nodes: list[NodeProto], held: dict[str, np.ndarray], shape: tuple[int, ...], opset: int
) -> None:
    with pytest.raises(ModelError, match=nodes[-1].op_type) as caught:
        load_module(Model.from_proto(graph(nodes, held, shape, opset)))
    assert caught.value.code == "E032"
    assert "\n" not in str(caught.value)


def test_an_if_that_asks_for_more_than_sizes_is_refused() -> None:
    branch = helper.make_graph([made("Relu", ["h"], ["r"])], "b", [], [ValueInfoProto(name="r")])
    nodes = [made("ReduceMax", ["h"], ["m"], keepdims=0), made("Greater", ["m", "k"], ["c"]),
             node("If", "c", then_branch=branch, else_branch=branch)]  # fmt: skip
    with pytest.raises(ModelError, match="operator If;"):
        load_module(Model.from_proto(graph(nodes, {"k": np.float32(0)}, PLANE, 13)))


@pytest.mark.parametrize(
    ("arithmetic", "opset"),
    [
        *(([made(op, ["f"], ["r"])], 13) for op in
          ("Sqrt", "Reciprocal", "Floor", "Ceil", "Neg", "Abs", "Round", "Sign", "Exp", "Log", "Identity")),
        *(([made(op, ["z"], ["r"])], 13) for op in ("Neg", "Abs", "Sign")),
        *(([made(op, ["f", "real"], ["r"])], 13) for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean",
           "Sum")),
        *(([made(op, ["z", "whole"], ["r"])], 13) for op in ("Add", "Sub", "Mul", "Div", "Mod", "Pow", "Max", "Min")),
        *(([made(op, ["z", "whole"], ["r"])], 16) for op in
          ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
        ([made("Max", ["z", "whole", "three"], ["r"])], 13), ([made("Max", ["z"], ["r"])], 13),
        ([made("Mod", ["f", "real"], ["r"], fmod=1)], 13), ([made("Mod", ["m", "whole"], ["r"], fmod=1)], 13),
        ([made("Mod", ["m", "whole"], ["r"])], 13), ([made("Div", ["m", "whole"], ["r"])], 13),
        ([made("Div", ["f", "f"], ["r"])], 13), ([made("Pow", ["z", "real"], ["r"])], 13),
        ([made("Div", ["f", "f"], ["q"]), made("Div", ["q", "real"], ["r"])], 13),
        ([made("Mul", ["f", "tenth"], ["q"]), made("Floor", ["q"], ["r"])], 13),
        ([made("Greater", ["z", "whole"], ["g"]), made("Where", ["g", "f", "real"], ["r"])], 16),
        ([made("Greater", ["z", "whole"], ["g"]), made("Not", ["g"], ["k"]),
          made("Where", ["k", "f", "real"], ["r"])], 16),
        *(([made("Greater", ["z", "whole"], ["g"]), made("Less", ["z", "three"], ["k"]),
            made(op, ["g", "k"], ["r"])], 16)
          for op in ("And", "Or", "Xor")),
        *(([made("Mul", ["f", "real"], ["q"]), made("Cast", ["q"], ["r"], to=to)], 13) for to in (6, 7, 9, 10, 11)),
    ],
)  # fmt: skip
def test_numbers_computed_from_sizes_are_those_of_onnx_runtime(
    arithmetic: list[NodeProto], opset: int
) -> None:
    """Read as a tensor, which adds them to the images."""
    held = {"real": np.array([2.5, -0.5, 0.3], np.float32), "whole": integers(3, 2, 6), "three": np.array(3),
            "tenth": np.float32(0.1), "start": integers(1), "end": integers(4)}  # fmt: skip
    nodes = [made("Shape", ["h"], ["whole shape"]), made("Slice", ["whole shape", "start", "end"], ["z"]),
             made("Cast", ["z"], ["f"], to=1), made("Neg", ["z"], ["m"]), *arithmetic,
             made("Cast", ["r"], ["number"], to=1), node("Add", "h", "number")]  # fmt: skip
    read = {name for item in nodes for name in item.input}
    model = Model.from_proto(
        graph(nodes, {name: held[name] for name in held if name in read}, (3, 7, 3), opset)
    )
    x = np.zeros((3, 3, 7, 3), np.float32)
    (expected,) = Runner(model, threads=1).run({"x": x})
    with torch.no_grad():
        np.testing.assert_allclose(load_module(model)(torch.from_numpy(x)).numpy(), expected, rtol=3e-7)


def test_all_unknown_operators_are_named_at_once_and_before_anything_is_built() -> None:
    nodes = [made("Conv", ["h", "w"], ["c"]), made("TopK", ["c", "k"], ["t", "i"]), made("Trilu", ["t"], ["u"]),
             helper.make_node("Fused", ["u"], ["y"], domain="com.example")]  # fmt: skip
    proto = graph(nodes, {"w": floats(9, 9, 9), "k": np.array([1])}, PLANE, 14)  # the Conv could not be built
    proto.opset_import.add(domain="com.example", version=1)
    with pytest.raises(ModelError, match=r"operators TopK, Trilu, com\.example:Fused;"):
        load_module(Model.from_proto(proto))


def test_sizes_that_stay_symbolic_have_rules_for_what_exporters_write() -> None:
    assert {"Shape", "Gather", "Concat", "Slice", "Unsqueeze", "Mul", "Div", "Cast"} <= set(SIZE_RULES)


@pytest.mark.parametrize(
    ("arithmetic", "expected"),
    [
        ([made("Add", ["z", "two"], ["r"])], [4, 5, 9, 8]),
        ([made("Sub", ["z", "two"], ["r"])], [0, 1, 5, 4]),
        ([made("Div", ["z", "two"], ["r"])], [1, 1, 3, 3]),
        ([made("Max", ["z", "five"], ["r"])], [5, 5, 7, 6]),
        ([made("Min", ["z", "five"], ["r"])], [2, 3, 5, 5]),
        ([made("Identity", ["z"], ["r"])], [2, 3, 7, 6]),
        ([made("Expand", ["z", "rows"], ["e"]), made("Gather", ["e", "zero"], ["r"])], [2, 3, 7, 6]),
        ([made("Equal", ["z", "seven"], ["q"]), made("Where", ["q", "five", "z"], ["r"])], [2, 3, 5, 6]),
        ([made("Cast", ["z"], ["f"], to=1), made("Mul", ["f", "half"], ["g"]), made("Floor", ["g"], ["i"]),
          made("Cast", ["i"], ["r"], to=7)], [1, 1, 3, 3]),
        ([made("Cast", ["z"], ["f"], to=1), made("Mul", ["f", "half"], ["g"]), made("Ceil", ["g"], ["i"]),
          made("Cast", ["i"], ["r"], to=7)], [1, 2, 4, 3]),
        ([made("Gather", ["z", "zero"], ["g"]), made("Cast", ["g"], ["i"], to=7), made("Cast", ["i"], ["r"], to=7)], 2),
        ([made("Size", ["h"], ["s"]), made("Reshape", ["s", "line"], ["r"])], [252]),
        ([made("Gather", ["z", "two"], ["g"]), made("Squeeze", ["g"], ["i"]),
          made("Range", ["zero", "i", "one"], ["r"])],
         [0, 1, 2, 3, 4, 5, 6]),
    ],
)  # fmt: skip
def test_arithmetic_on_sizes(arithmetic: list[NodeProto], expected: list[int] | int) -> None:
    held = {"two": integers(2), "five": integers(5), "seven": integers(7), "half": np.array([0.5], np.float32),
            "rows": integers(2, 4), "zero": np.int64(0), "one": np.int64(1), "line": integers(1)}  # fmt: skip
    values = {name: Value(name, np.asarray(array)) for name, array in held.items()}
    values["h"] = Value("h", example=torch.zeros(2, *PLANE))
    for item in [made("Shape", ["h"], ["z"]), *arithmetic]:
        operands = [values[name] for name in item.input]
        given = [value.example if value.constant is None else value.constant for value in operands]
        result = SIZE_RULES[item.op_type](Node(item, 13, operands))(*given)
        values[item.output[0]] = Value(item.output[0], example=result)
        assert isinstance(result, np.ndarray)  # of single sizes too
    assert values["r"].example.tolist() == expected
