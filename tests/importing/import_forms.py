"""Forms of operators as convolutional networks and exporters have them, beside those of `rule_forms`."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from rule_forms import LINE, PLANE, SPACE, Form, floats, integers, made, node

WIDE = (4, 7, 6)


def convolutions() -> dict[str, Form]:
    """1, 2 and 3 axes; every way of padding; strides, dilations, groups; with and without a bias."""
    found: dict[str, Form] = {}
    given: dict[str, dict[str, Any]] = {
        "plain": {},
        "strided and padded": {"strides": 2, "pads": 1},
        "dilated": {"dilations": 2, "pads": 2},
        "same upper": {"auto_pad": "SAME_UPPER"},
        "same upper strided": {"auto_pad": "SAME_UPPER", "strides": 2},
        "same lower strided": {"auto_pad": "SAME_LOWER", "strides": 2},
        "valid": {"auto_pad": "VALID", "strides": 2},
    }
    for shape in (LINE, PLANE, SPACE):
        rank = len(shape) - 1
        kernel = (3, 2, 2)[:rank]
        for name, options in given.items():
            spelled = {
                key: [value] * (rank * (2 if key == "pads" else 1)) if isinstance(value, int) else value
                for key, value in options.items()
            }
            held = {"w": floats(4, shape[0], *kernel), "b": floats(4)}
            found[f"Conv {rank}: {name}"] = [node("Conv", "h", "w", "b", **spelled)], held, shape, 11
        uneven = node("Conv", "h", "w", pads=[*([2] * rank), *([1] * rank)])
        found[f"Conv {rank}: uneven pads"] = [uneven], {"w": floats(4, shape[0], *kernel)}, shape, 11
        held = {
            "s": floats(shape[0]),
            "b": floats(shape[0]),
            "m": floats(shape[0]),
            "v": floats(shape[0]) ** 2 + 0.1,
        }
        norm = node("BatchNormalization", "h", "s", "b", "m", "v", epsilon=1e-3)
        found[f"BatchNormalization {rank}"] = [norm], held, shape, 15
    found["BatchNormalization of vectors"] = [norm], {key: floats(5) ** 2 + 0.1 for key in "sbmv"}, (5,), 9
    for group, inputs in ((2, 2), (4, 1)):
        grouped = node("Conv", "h", "w", "b", group=group, pads=[1, 1, 1, 1])
        found[f"Conv: {group} groups"] = [grouped], {"w": floats(8, inputs, 3, 3), "b": floats(8)}, WIDE, 11
    turned = [made("Transpose", ["w"], ["k"], perm=[3, 2, 0, 1]), node("Conv", "h", "k")]
    found["Conv: by a transposed weight"] = turned, {"w": floats(2, 2, 4, 5)}, WIDE, 13
    twice = [
        made("Conv", ["h", "w"], ["a"], pads=[1] * 4),
        made("Relu", ["a"], ["r"]),
        node("Conv", "r", "w", pads=[1] * 4),
    ]
    found["Conv: one weight twice"] = twice, {"w": floats(4, 4, 3, 3)}, WIDE, 13
    other = [
        made("Conv", ["h", "w"], ["a"], pads=[1] * 4),
        node("Conv", "a", "w", dilations=[2, 2], pads=[2] * 4),
    ]
    found["Conv: one weight in two ways"] = other, {"w": floats(4, 4, 3, 3)}, WIDE, 13
    return found


def pools() -> dict[str, Form]:
    """Maxima over windows in every way of padding, and averages over unevenly padded ones."""
    found: dict[str, Form] = {}
    for shape in (LINE, PLANE, SPACE):
        rank = len(shape) - 1
        most = {"kernel_shape": [3] * rank, "strides": [2] * rank}
        for name, options in {
            "padded": {"pads": [1] * (2 * rank)},
            "uneven": {"pads": [*([0] * rank), *([2] * rank)]},
            "widely padded": {"pads": [2] * (2 * rank)},
            "same upper": {"auto_pad": "SAME_UPPER"},
            "same lower": {"auto_pad": "SAME_LOWER"},
            "dilated": {"strides": [1] * rank, "kernel_shape": [2] * rank, "dilations": [2] * rank},
        }.items():
            found[f"MaxPool {rank}: {name}"] = [node("MaxPool", **{**most, **options})], {}, shape, 12
        for counted in (0, 1):
            uneven = node(
                "AveragePool", **most, pads=[*([0] * rank), *([1] * rank)], count_include_pad=counted
            )
            found[f"AveragePool {rank}: uneven, {counted}"] = [uneven], {}, shape, 11
    return found


def layers() -> dict[str, Form]:
    """Products with biases, and reshapes with constant and computed shapes, as exporters write them."""
    flat = made("Flatten", ["h"], ["f"])
    size = [
        made("Shape", ["h"], ["z"]),
        made("Gather", ["z", "zero"], ["n"], axis=0),
        made("Unsqueeze", ["n", "a"], ["u"]),
    ]
    held: dict[str, Any] = {"zero": np.int64(0), "a": integers(0)}
    split = [3, 2, 7, 6]
    swap = made("Transpose", ["s"], ["t"], perm=[0, 2, 1, 3, 4])
    whole = (6, 7, 6)
    pool = [
        made("ReduceMean", ["h"], ["m"], axes=[2, 3], keepdims=1),
        made("Reshape", ["m", "one axis"], ["line"]),
        made("Shape", ["h"], ["z"], start=0, end=1),
        made("Squeeze", ["z"], ["n"]),
        made("Range", ["zero", "n", "one"], ["rows"]),
        made("Mul", ["rows", "stride"], ["starts"]),
        made("Unsqueeze", ["starts", "axes"], ["corner"]),
        made("Add", ["corner", "places"], ["picked"]),
        made("Gather", ["line", "picked"], ["view"], axis=0),
        made("Reshape", ["view", "matrix"], ["f"]),
        node("Gemm", "f", "w"),
    ]
    view = {
        "one axis": integers(-1), "zero": np.int64(0), "one": np.int64(1), "stride": np.int64(3),
        "axes": integers(1, 2, 3), "places": np.arange(3).reshape(1, 3, 1, 1), "matrix": integers(-1, 3),
        "w": floats(3, 4),
    }  # fmt: skip
    reverse = {**view, "places": np.arange(3)[::-1].reshape(1, 3, 1, 1).copy()}
    return {
        "as_strided of an average": (pool, view, PLANE, 17),
        "as_strided in another order": (pool, reverse, PLANE, 17),
        "MatMul and Add": ([flat, made("MatMul", ["f", "w"], ["p"]), node("Add", "p", "b")],
                           {"w": floats(126, 4), "b": floats(4)}, PLANE, 13),
        "Add and MatMul": ([flat, made("MatMul", ["f", "w"], ["p"]), node("Add", "b", "p")],
                           {"w": floats(126, 4), "b": floats(4)}, PLANE, 13),
        "MatMul along the last axis": ([made("MatMul", ["h", "w"], ["p"]), node("Add", "p", "b")],
                                       {"w": floats(6, 4), "b": floats(4)}, PLANE, 13),
        "Gemm": ([flat, node("Gemm", "f", "w", "b", transB=1)], {"w": floats(4, 126), "b": floats(4)}, PLANE, 13),
        "Gemm with factors": ([flat, node("Gemm", "f", "w", "b", alpha=0.5, beta=2.0)],
                              {"w": floats(126, 4), "b": floats(1, 4)}, PLANE, 11),
        "Gemm with one number": ([flat, node("Gemm", "f", "w", "b")], {"w": floats(126, 4), "b": floats(1)}, PLANE, 9),
        "Gemm without a bias": ([flat, node("Gemm", "f", "w")], {"w": floats(126, 4)}, PLANE, 13),
        "Reshape to a matrix": ([node("Reshape", "h", "r")], {"r": integers(-1, 126)}, PLANE, 13),
        "Reshape by copied sizes": ([node("Reshape", "h", "r")], {"r": integers(0, -1)}, PLANE, 13),
        "Reshape that splits": ([node("Reshape", "h", "r")], {"r": integers(-1, 3, 2, 21)}, PLANE, 5),
        "Reshape to a computed shape": ([*size, made("Concat", ["u", "k"], ["r"], axis=0), node("Reshape", "h", "r")],
                                        {**held, "k": integers(-1)}, PLANE, 13),
        "Reshape by a product of sizes": (
            [made("Shape", ["h"], ["z"]), made("Slice", ["z", "one", "four"], ["q"]),
             made("ReduceProd", ["q"], ["p"], keepdims=1), made("Concat", ["k", "p"], ["r"], axis=0),
             node("Reshape", "h", "r")], {"one": integers(1), "four": integers(4), "k": integers(-1)}, PLANE, 13),
        "channel shuffle": ([made("Reshape", ["h", "g"], ["s"]), swap, node("Reshape", "t", "w")],
                            {"g": integers(0, *split), "w": integers(0, *whole)}, whole, 13),
        "channel shuffle of a computed shape": (
            [*size, made("Concat", ["u", "g"], ["c"], axis=0), made("Reshape", ["h", "c"], ["s"]), swap,
             made("Concat", ["u", "w"], ["d"], axis=0), node("Reshape", "t", "d")],
            {**held, "g": integers(*split), "w": integers(*whole)}, whole, 13),
        "squeeze and excitation": (
            [made("GlobalAveragePool", ["h"], ["p"]), made("Conv", ["p", "w", "b"], ["c"]),
             made("HardSigmoid", ["c"], ["s"], alpha=1 / 6), node("Mul", "h", "s")],
            {"w": floats(3, 3, 1, 1), "b": floats(3)}, PLANE, 13),
        "hard swish written out": (
            [made("Add", ["h", "three"], ["a"]), made("Clip", ["a", "zero", "six"], ["c"]),
             made("Mul", ["h", "c"], ["m"]), node("Div", "m", "six")],
            {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)}, PLANE, 13),
        "swish written out": ([made("Sigmoid", ["h"], ["s"]), node("Mul", "h", "s")], {}, PLANE, 13),
        "a convolution scaled and shifted": (
            [made("Conv", ["h", "w"], ["c"]), made("Unsqueeze", ["s", "a"], ["u"]), made("Mul", ["c", "u"], ["m"]),
             made("Unsqueeze", ["b", "a"], ["v"]), node("Add", "m", "v")],
            {"w": floats(4, 3, 2, 2), "s": floats(4), "b": floats(4), "a": integers(1, 2)}, PLANE, 13),
        "Resize to computed sizes": (
            [made("Shape", ["h"], ["z"]), made("Slice", ["z", "zero", "two"], ["q"]),
             made("Slice", ["z", "two", "four"], ["s"]), made("Mul", ["s", "two"], ["d"]),
             made("Concat", ["q", "d"], ["r"], axis=0), node("Resize", "h", "", "", "r", mode="nearest")],
            {"zero": integers(0), "two": integers(2), "four": integers(4)}, PLANE, 13),
        "padding computed from a constant shape": (
            [made("ConstantOfShape", ["two"], ["o"]), made("Cast", ["o"], ["c"], to=TensorProto.INT64),
             made("Concat", ["k", "c"], ["p"], axis=0), node("Pad", "h", "p")],
            {"two": integers(4), "k": integers(0, 1, 1, 0)}, PLANE, 13),
        "Squeeze of all axes of one": ([made("GlobalMaxPool", ["h"], ["p"]), node("Squeeze", "p")], {}, PLANE, 13),
        "channels padded": ([node("Pad", "h", "p")], {"p": integers(0, 2, 0, 0, 0, 1, 0, 0)}, PLANE, 13),
        "half of the channels": ([node("Slice", "h", "s", "e", "a")],
                                 {"s": integers(2), "e": integers(2**62), "a": integers(1)}, WIDE, 13),
    }  # fmt: skip


def branches() -> dict[str, Form]:
    """An If that asks for a size, as PyTorch writes a squeeze of an axis of unknown size; with weights inside."""
    found: dict[str, Form] = {}
    for name, operator in (("of one", "GlobalMaxPool"), ("of more", "Relu")):
        squeezed = helper.make_graph(
            [made("Constant", [], ["a"], value=numpy_helper.from_array(integers(2))),
             made("ReduceSum", ["p", "a"], ["s"], keepdims=0)],
            "then", [], [ValueInfoProto(name="s")],
        )  # fmt: skip
        scaled = helper.make_graph(
            [made("Mul", ["p", "inside"], ["t"])], "else", [], [ValueInfoProto(name="t")],
            [numpy_helper.from_array(floats(3, 1, 1), "inside")],
        )  # fmt: skip
        nodes = [
            made(operator, ["h"], ["p"]), made("Shape", ["p"], ["z"]), made("Gather", ["z", "two"], ["n"]),
            made("Equal", ["n", "one"], ["c"]), node("If", "c", then_branch=squeezed, else_branch=scaled),
        ]  # fmt: skip
        found[f"squeezed axis {name}"] = nodes, {"two": np.int64(2), "one": np.int64(1)}, PLANE, 13
    return found


def elements() -> dict[str, Form]:
    """Comparisons, logic and rounding, which have no derivative and so no form in `rule_forms`."""
    truth = made("Greater", ["h", "q"], ["c"])
    back = node("Cast", "r", to=TensorProto.FLOAT)
    held = {"q": np.float32(0.1), "k": 0.3 * floats(6)}
    found: dict[str, Form] = {
        f"{op} of a constant": ([made(op, ["h", "k"], ["r"]), back], held, PLANE, 16)
        for op in ("Equal", "GreaterOrEqual", "Less", "LessOrEqual")
    }
    for op in ("And", "Or", "Xor"):
        nodes = [truth, made("Less", ["h", "k"], ["d"]), made(op, ["c", "d"], ["r"]), back]
        found[op] = nodes, held, PLANE, 13
    found["Not"] = [truth, made("Not", ["c"], ["r"]), back], held, PLANE, 13
    for op in ("ArgMax", "ArgMin"):
        for keep in (0, 1):
            found[f"{op} {keep}"] = [made(op, ["h"], ["r"], axis=1, keepdims=keep), back], {}, PLANE, 13
    for op in ("Ceil", "Floor", "Round", "Sign"):
        found[op] = [made("Mul", ["h", "k"], ["r"]), node(op, "r")], {"k": 3 * floats(6)}, PLANE, 13
    found["IsNaN"] = [made("Log", ["h"], ["g"]), made("IsNaN", ["g"], ["r"]), back], {}, PLANE, 13
    found["Mod of fractions"] = [node("Mod", "h", "q", fmod=1)], {"q": np.float32(0.3)}, PLANE, 13
    found["Shrink"] = [node("Shrink", lambd=0.3, bias=0.1)], {}, PLANE, 9
    for name, limits in {
        "to 6": (0, 6),
        "low": (-0.2, None),
        "high": (None, 0.3),
        "to 1": (-0.5, 0.5),
    }.items():
        given = {
            key: np.float32(value) for key, value in zip(("l", "u"), limits, strict=True) if value is not None
        }
        inputs = ["h", *(key if key in given else "" for key in ("l", "u"))]
        found[f"Clip {name}"] = [made("Mul", ["h", "ten"], ["m"]), node("Clip", "m", *inputs[1:])], {
            **given, "ten": np.float32(9),
        }, PLANE, 13  # fmt: skip
    for mode in ("reflect", "edge", "wrap"):
        found[f"Pad {mode}"] = (
            [node("Pad", "h", "p", mode=mode)],
            {"p": integers(0, 0, 2, 1, 0, 0, 1, 3)},
            PLANE,
            19,
        )
    return found


FORMS: dict[str, Form] = {**convolutions(), **pools(), **layers(), **branches(), **elements()}
