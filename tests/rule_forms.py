"""Every form of every operator that has a derivative rule: by attribute, operator set, rank, broadcast and input.

A form is the nodes from h to y, the constants they read, the shape of one image's h, and the operator set. `POSITIVE`
names forms whose h must be above 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Form = tuple[list[NodeProto], dict[str, Any], tuple[int, ...], int]
LINE, PLANE, SPACE = (3, 11), (3, 7, 6), (2, 5, 4, 6)
REDUCTIONS = {  # and the operator set from which their axes are an input
    **{
        f"Reduce{kind}": 18
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
    },
    "ReduceSum": 13,
}
POSITIVE = ("ReduceLogSum alone", "ReduceProd alone")


def node(op: str, *inputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, list(inputs) or ["h"], ["y"], **attributes)


def made(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs, outputs, **attributes)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def pools() -> dict[str, Form]:
    """Average pools of 1, 2 and 3 axes, and maximum pools."""
    found: dict[str, Form] = {}
    wide: dict[str, dict[str, Any]] = {
        "plain": {},
        "strided": {"strides": 2},
        "gaps between windows": {"strides": 4},
        "padded": {"pads": 1},
        "padded and counted": {"pads": 1, "count_include_pad": 1},
        "ceiling": {"strides": 2, "ceil_mode": 1},
        "padded ceiling": {"strides": 2, "pads": 1, "ceil_mode": 1},
        "padded ceiling counted": {"strides": 2, "pads": 1, "ceil_mode": 1, "count_include_pad": 1},
        "same upper": {"strides": 2, "auto_pad": "SAME_UPPER"},
        "same lower": {"strides": 2, "auto_pad": "SAME_LOWER"},
        "same lower counted": {"auto_pad": "SAME_LOWER", "count_include_pad": 1},
        "valid": {"strides": 2, "auto_pad": "VALID"},
    }
    for shape in (LINE, PLANE, SPACE):
        rank = len(shape) - 1
        for name, given in wide.items():
            spelled = {
                key: [value] * (rank * (2 if key == "pads" else 1)) if key in ("strides", "pads") else value
                for key, value in given.items()
            }
            pool = node("AveragePool", kernel_shape=[3, 2, 2][:rank], **spelled)
            found[f"average {rank}: {name}"] = [pool], {}, shape, 11
        spread = node("AveragePool", kernel_shape=[2] * rank, dilations=[2] * rank, pads=[1] * (2 * rank))
        found[f"average {rank}: dilated"] = [spread], {}, shape, 19
        old = node("AveragePool", kernel_shape=[2] * rank, pads=[1] * (2 * rank))
        found[f"average {rank}: old"] = [old], {}, shape, 7
        most = node("MaxPool", kernel_shape=[3] * rank, strides=[2] * rank, ceil_mode=1)
        found[f"maximum {rank}"] = [most], {}, shape, 12
        found[f"maximum {rank}: old"] = [node("MaxPool", kernel_shape=[2] * rank)], {}, shape, 7
        found[f"maximum {rank}: of all"] = [node("GlobalMaxPool")], {}, shape, 13
        found[f"average {rank}: of all"] = [node("GlobalAveragePool")], {}, shape, 13
        found[f"average {rank}: one window"] = [node("AveragePool", kernel_shape=shape[1:])], {}, shape, 13
    return found


def sums() -> dict[str, Form]:
    found: dict[str, Form] = {}
    for op, moved in (("ReduceMean", 18), ("ReduceSum", 13)):
        for keep in (0, 1):
            for axes in ([2, 3], [1], [-1], [1, 3], [3, 2]):
                name = f"{op} {axes} {keep}"
                found[f"{name} attribute"] = [node(op, axes=axes, keepdims=keep)], {}, PLANE, 11
                late = node(op, "h", "a", keepdims=keep)
                found[f"{name} input"] = [late], {"a": integers(*axes)}, PLANE, moved
        same = node(op, "h", noop_with_empty_axes=1)
        found[f"{op} of nothing"] = [same], {}, PLANE, moved
    return found


def activations() -> dict[str, Form]:
    """Functions of single elements."""
    plain = {
        "Abs": 13,
        "Asinh": 9,
        "Atan": 7,
        "Celu": 12,
        "Cos": 7,
        "Cosh": 9,
        "Elu": 6,
        "Erf": 13,
        "Exp": 13,
        "Gelu": 20,
        "HardSigmoid": 6,
        "HardSwish": 14,
        "LeakyRelu": 6,
        "Mish": 18,
        "Neg": 13,
        "Relu": 13,
        "Selu": 6,
        "Sigmoid": 13,
        "Sin": 7,
        "Sinh": 9,
        "Softplus": 1,
        "Softsign": 1,
        "Swish": 24,
        "Tan": 7,
        "Tanh": 13,
    }
    found: dict[str, Form] = {op: ([node(op)], {}, LINE, opset) for op, opset in plain.items()}
    options: dict[str, dict[str, Any]] = {
        "Celu": {"alpha": 0.4},
        "Elu": {"alpha": 0.7},
        "HardSigmoid": {"alpha": 0.6, "beta": 0.3},
        "LeakyRelu": {"alpha": 0.2},
        "Selu": {"alpha": 1.2, "gamma": 0.8},
        "Swish": {"alpha": 1.6},
        "ThresholdedRelu": {"alpha": 0.3},
        "Gelu": {"approximate": "tanh"},
    }
    for op, given in options.items():
        found[f"{op} {given}"] = [node(op, **given)], {}, LINE, plain.get(op, 10)
    wide = [made("Mul", ["h", "k"], ["w"]), node("HardSwish", "w")]
    found["HardSwish beyond its ramp"] = wide, {"k": np.float32(5)}, LINE, 14
    for op, opset in (("Acos", 7), ("Asin", 7), ("Atanh", 9)):
        inside = [made("Mul", ["h", "k"], ["i"]), node(op, "i")]
        found[f"{op} within its range"] = inside, {"k": np.float32(0.8)}, LINE, opset
    above = [made("Exp", ["h"], ["e"]), made("Add", ["e", "k"], ["a"]), node("Acosh", "a")]
    found["Acosh within its range"] = above, {"k": np.float32(1)}, LINE, 9
    for op in ("Floor", "Ceil", "Round", "Sign"):
        steps = [made("Mul", ["h", "k"], ["i"]), made(op, ["i"], ["c"]), node("Mul", "h", "c")]
        found[f"{op}, a factor of steps"] = steps, {"k": np.float32(3.3)}, LINE, 13
    for op in ("Log", "Reciprocal", "Sqrt"):
        found[f"{op} of positive"] = [made("Exp", ["h"], ["e"]), node(op, "e")], {}, LINE, 13
    for name, slope in (
        ("one slope", floats(1)),
        ("slopes of channels", floats(3, 1, 1)),
        ("all slopes", floats(*PLANE)),
    ):
        found[f"PRelu: {name}"] = [node("PRelu", "h", "s")], {"s": slope}, PLANE, 16
    bent = [made("Tanh", ["h"], ["s"]), node("PRelu", "h", "s")]
    found["PRelu: a computed slope"] = bent, {}, PLANE, 16
    return found


def arithmetic() -> dict[str, Form]:
    """Operators of several inputs, broadcast and not."""
    mean = made("ReduceMean", ["h"], ["m"], axes=[2], keepdims=1)
    last = made("ReduceMean", ["h"], ["m"], axes=[1, 2, 3], keepdims=0)
    found: dict[str, Form] = {}
    for op in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"):
        found[f"{op} of a broadcast value"] = [mean, node(op, "h", "m")], {}, PLANE, 13
        found[f"{op} broadcast from the left"] = [mean, node(op, "m", "h")], {}, PLANE, 13
        found[f"{op} of a constant"] = [node(op, "h", "k")], {"k": 0.3 * floats(3, 1, 6)}, PLANE, 13
    for op in ("Max", "Min", "Sum", "Mean"):
        found[f"{op} of three"] = [made("Tanh", ["h"], ["t"]), mean, node(op, "h", "t", "m")], {}, PLANE, 13
        found[f"{op} of one"] = [node(op, "h")], {}, PLANE, 13
    positive = [mean, made("Exp", ["m"], ["e"])]
    found["Div by a broadcast value"] = [*positive, node("Div", "h", "e")], {}, PLANE, 13
    found["Div of a broadcast value"] = (
        [made("Exp", ["h"], ["e"]), mean, node("Div", "m", "e")],
        {},
        PLANE,
        13,
    )
    found["Div of a constant"] = (
        [made("Exp", ["h"], ["e"]), node("Div", "k", "e")],
        {"k": floats(6)},
        PLANE,
        13,
    )
    found["Div by itself"] = [made("Exp", ["h"], ["e"]), made("Div", ["h", "e"], ["y"])], {}, PLANE, 7
    for name, power in (("2", np.float32(2)), ("3", np.int64(3)), ("many", np.abs(floats(6)) + 1)):
        found[f"Pow {name}"] = [made("Exp", ["h"], ["e"]), node("Pow", "e", "p")], {"p": power}, PLANE, 13
    found["Pow of negative"] = [node("Pow", "h", "p")], {"p": np.float32(3)}, PLANE, 13
    found["Pow of a constant"] = [node("Pow", "k", "h")], {"k": np.abs(floats(3, 1, 1)) + 0.5}, PLANE, 13
    found["Pow by a value"] = [made("Exp", ["h"], ["e"]), mean, node("Pow", "e", "m")], {}, PLANE, 13
    compare = made("Greater", ["h", "z"], ["c"])
    for name, inputs in (("value", ("h", "k")), ("other", ("k", "h")), ("both", ("h", "t"))):
        nodes = [compare, made("Tanh", ["h"], ["t"]), node("Where", "c", *inputs)]
        found[f"Where: {name}"] = nodes, {"z": np.float32(0.2), "k": floats(6)}, PLANE, 16
    found["Where: broadcast"] = (
        [mean, node("Where", "c", "m", "k")],
        {"c": floats(3, 7, 6) > 0, "k": floats(6)},
        PLANE,
        16,
    )
    masked = [compare, made("Cast", ["c"], ["f"], to=TensorProto.FLOAT), node("Mul", "h", "f")]
    found["a mask"] = masked, {"z": np.float32(0.1)}, PLANE, 13
    found["Max with its own rectifier"] = [made("Relu", ["h"], ["r"]), node("Max", "h", "r")], {}, PLANE, 13
    found["means of images"] = (
        [last, made("Unsqueeze", ["m", "a"], ["u"]), node("Mul", "h", "u")],
        {"a": integers(1, 2, 3)},
        PLANE,
        13,
    )
    return found


def matrices() -> dict[str, Form]:
    """Products of values with constants and with each other."""
    turned = made("Transpose", ["h"], ["t"], perm=[0, 1, 3, 2])
    flat = made("ReduceMean", ["h"], ["f"], axes=[1], keepdims=0)
    found: dict[str, Form] = {
        "MatMul of values": ([turned, node("MatMul", "h", "t")], {}, PLANE, 13),
        "MatMul, broadcast right": ([flat, made("Transpose", ["h"], ["t"], perm=[0, 1, 3, 2]),
                                     made("Unsqueeze", ["f", "one"], ["u"]), node("MatMul", "u", "t")],
                                    {"one": integers(1)}, PLANE, 13),
        "MatMul from the left": ([node("MatMul", "w", "h")], {"w": floats(4, 7)}, PLANE, 13),
        "MatMul with a stack": ([node("MatMul", "h", "w")], {"w": floats(3, 6, 2)}, PLANE, 13),
        "MatMul with more stacks": (
            [made("MatMul", ["w", "h"], ["s"]), node("Transpose", "s", perm=[1, 0, 2, 3, 4])],
            {"w": floats(2, 1, 1, 4, 7)}, (3, 7, 2), 13),
        "MatMul with a vector": ([node("MatMul", "h", "w")], {"w": floats(6)}, PLANE, 13),
        "MatMul of a vector": ([node("MatMul", "w", "h")], {"w": floats(7)}, PLANE, 13),
        "Einsum with a matrix": ([node("Einsum", "h", "w", equation="ncij,jk->ncik")], {"w": floats(6, 3)}, PLANE, 13),
        "Einsum of values": ([made("Tanh", ["h"], ["t"]), node("Einsum", "h", "t", equation="ncij, ncik -> njk")],
                             {}, PLANE, 13),
        "Einsum with dots": ([node("Einsum", "h", "w", equation="...j,jk->...k")], {"w": floats(6, 3)}, PLANE, 13),
        "Einsum without an arrow": ([node("Einsum", "h", "w", equation="abij,jk")], {"w": floats(6, 3)}, PLANE, 13),
        "Einsum that sums": ([node("Einsum", "h", equation="ncij->nj")], {}, PLANE, 13),
        "Einsum that transposes": ([node("Einsum", "h", equation="ncij->njci")], {}, PLANE, 13),
        "Einsum of three": ([made("Tanh", ["h"], ["t"]), node("Einsum", "h", "w", "t", equation="nci,ij,ncj->nc")],
                            {"w": floats(11, 11)}, LINE, 13),
    }  # fmt: skip
    for left in (0, 1):
        for right in (0, 1):
            # The images are the columns of A where A is transposed, so that y keeps a row for each.
            row = made("Flatten", ["h"], ["r"])
            rows = (
                [row, made("Transpose", ["r"], ["a"], perm=[1, 0])]
                if left
                else [row, made("Identity", ["r"], ["a"])]
            )
            w = floats(4, 33) if right else floats(33, 4)
            gemm = node("Gemm", "a", "w", "b", transA=left, transB=right, alpha=0.5, beta=2.0)
            bias = [made("Slice", ["r", "s", "e", "one"], ["b"])]
            bounds = {"s": integers(1), "e": integers(5), "one": integers(1)}
            found[f"Gemm {left} {right}"] = [*rows, *bias, gemm], {"w": w, **bounds}, LINE, 13
    return found


def norms() -> dict[str, Form]:
    """Normalisations by statistics of the value itself."""
    scale, bias = floats(6) + 1, floats(6)
    found: dict[str, Form] = {}
    for axis, shape in ((-1, (6,)), (2, (7, 6)), (-3, (3, 7, 6))):
        held = {"s": floats(*shape) + 1, "b": floats(*shape)}
        found[f"LayerNormalization {axis}"] = (
            [node("LayerNormalization", "h", "s", "b", axis=axis)],
            held,
            PLANE,
            17,
        )
    found["LayerNormalization without a bias"] = (
        [node("LayerNormalization", "h", "s", epsilon=0.1)],
        {"s": scale},
        PLANE,
        17,
    )
    last = made("ReduceMean", ["h"], ["m"], axes=[1, 2], keepdims=1)
    computed = [last, node("LayerNormalization", "h", "m", "m")]
    found["LayerNormalization by computed scales"] = computed, {}, PLANE, 17
    parts = [made("ReduceMean", ["h"], ["m"], axes=[3], keepdims=1), made("Sub", ["h", "m"], ["c"]),
             made("Pow", ["c", "two"], ["q"]), made("ReduceMean", ["q"], ["v"], axes=[3], keepdims=1),
             made("Add", ["v", "e"], ["w"]), made("Sqrt", ["w"], ["d"]), made("Div", ["c", "d"], ["n"]),
             made("Mul", ["n", "s"], ["z"]), node("Add", "z", "b")]  # fmt: skip
    held = {"two": np.float32(2), "e": np.float32(1e-3), "s": scale, "b": bias}
    found["a layer norm written out"] = parts, held, PLANE, 13
    for shape in (LINE, PLANE, SPACE):
        held = {"s": floats(shape[0]), "b": floats(shape[0])}
        name = f"InstanceNormalization {len(shape) - 1}"
        found[name] = [node("InstanceNormalization", "h", "s", "b", epsilon=1e-2)], held, shape, 6
    grouped = (4, 5, 3)
    for opset, size in ((18, 2), (21, 4)):
        held = {"s": floats(size) + 1, "b": floats(size)}
        found[f"GroupNormalization {opset}"] = (
            [node("GroupNormalization", "h", "s", "b", num_groups=2)],
            held,
            grouped,
            opset,
        )
    found["RMSNormalization"] = [node("RMSNormalization", "h", "s")], {"s": scale}, PLANE, 23
    found["RMSNormalization of a plane"] = (
        [node("RMSNormalization", "h", "s", axis=2)],
        {"s": floats(7, 6)},
        PLANE,
        23,
    )
    for order in (1, 2):
        for axis in (1, -1):
            found[f"LpNormalization {order} {axis}"] = (
                [node("LpNormalization", p=order, axis=axis)],
                {},
                PLANE,
                1,
            )
    for name, axes in (("plane", [2, 3]), ("all", [1, 2, 3]), ("channels", [-3])):
        own = node("MeanVarianceNormalization", axes=axes)
        found[f"MeanVarianceNormalization: {name}"] = [own], {}, PLANE, 13
    for size in (1, 3, 5):
        lrn = node("LRN", size=size, alpha=0.5, beta=0.6, bias=1.5)
        found[f"LRN {size}"] = [lrn], {}, (5, 4, 3), 13
    return found


def reductions_alone() -> dict[str, Form]:
    """Every reduction as the only operator, with its axes as an attribute and as an input, kept and dropped."""
    found: dict[str, Form] = {}
    for op, moved in REDUCTIONS.items():
        for keep in (0, 1):
            old, late = node(op, axes=[2, -1], keepdims=keep), node(op, "h", "a", keepdims=keep)
            found[f"{op} alone {keep} attribute"] = [old], {}, PLANE, 11
            found[f"{op} alone {keep} input"] = [late], {"a": integers(2, -1)}, PLANE, moved
            of_one = node(op, "h", "a", keepdims=keep)
            found[f"{op} alone {keep} channels"] = [of_one], {"a": integers(1)}, PLANE, 18
    return found


def reductions() -> dict[str, Form]:
    """Reductions but for sums and means, and softmaxes."""
    found: dict[str, Form] = {}
    for op in ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"):
        for axes in ([2], [1, -1]):
            for keep in (0, 1):
                found[f"{op} {axes} {keep}"] = [node(op, axes=axes, keepdims=keep)], {}, PLANE, 11
        found[f"{op} by an input"] = [node(op, "h", "a")], {"a": integers(1, 3)}, PLANE, 18
    found |= reductions_alone()
    for op in ("ReduceLogSum", "ReduceProd"):
        found[op] = [made("Exp", ["h"], ["e"]), node(op, "e", axes=[2], keepdims=0)], {}, PLANE, 11
    for axis in (1, -1):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                sums = node("CumSum", "h", "a", exclusive=exclusive, reverse=reverse)
                found[f"CumSum {axis} {exclusive} {reverse}"] = [sums], {"a": np.int64(axis)}, PLANE, 14
    for op in ("Softmax", "LogSoftmax"):
        for axis in (1, 2, -1):
            found[f"{op} {axis}"] = [node(op, axis=axis)], {}, PLANE, 13
        found[f"{op} by default"] = [node(op)], {}, PLANE, 13
        for axis in (1, 2):
            found[f"{op} over the rest from {axis}"] = [node(op, axis=axis)], {}, PLANE, 11
    attention = [made("Transpose", ["h"], ["t"], perm=[0, 1, 3, 2]), made("MatMul", ["h", "t"], ["a"]),
                 made("Softmax", ["a"], ["p"], axis=-1), node("MatMul", "p", "h")]  # fmt: skip
    found["attention"] = attention, {}, PLANE, 13
    return found


def planes() -> dict[str, Form]:
    """Transposed convolutions, resizes, and channels to positions."""
    found: dict[str, Form] = {}
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "strided": {"strides": [2, 3]},
        "padded": {"strides": [2, 2], "pads": [1, 0, 1, 1]},
        "dilated": {"dilations": [2, 1], "pads": [1, 1, 0, 0]},
        "output padded": {"strides": [3, 2], "output_padding": [1, 1]},
        "of a shape": {"strides": [2, 2], "output_shape": [14, 12]},
        "same upper": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        "same lower": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    }
    for name, given in options.items():
        found[f"ConvTranspose: {name}"] = (
            [node("ConvTranspose", "h", "w", **given)],
            {"w": floats(3, 2, 3, 3)},
            PLANE,
            11,
        )
    grouped = node("ConvTranspose", "h", "w", group=2, strides=[2, 2])
    found["ConvTranspose: grouped"] = [grouped], {"w": floats(4, 3, 2, 2)}, (4, 3, 4), 11
    line = node("ConvTranspose", "h", "w", "b", strides=[2], pads=[1, 0])
    found["ConvTranspose: a line"] = [line], {"w": floats(3, 2, 4), "b": floats(2)}, LINE, 11
    scales = np.array([1, 1, 2, 1.5], np.float32)
    for mode in ("nearest", "linear", "cubic"):
        for place in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
            resize = node("Resize", "h", "", "s", mode=mode, coordinate_transformation_mode=place)
            found[f"Resize: {mode} {place}"] = [resize], {"s": scales}, PLANE, 13
        sized = node("Resize", "h", "", "", "z", mode=mode, axes=[2, 3])
        found[f"Resize: {mode} to a size"] = [sized], {"z": integers(9, 4)}, PLANE, 18
        found[f"Resize: {mode} smaller"] = (
            [node("Resize", "h", "", "s", mode=mode)],
            {"s": np.array([1, 1, 0.5, 0.6], np.float32)},
            PLANE,
            18,
        )
    found["Resize: smoothed"] = (
        [node("Resize", "h", "", "s", mode="linear", antialias=1)],
        {"s": np.array([1, 1, 0.5, 0.6], np.float32)},
        PLANE,
        18,
    )
    found["Resize: of some axes"] = (
        [node("Resize", "h", "", "s", axes=[3, 2], mode="linear")],
        {"s": np.array([2, 1.5], np.float32)},
        PLANE,
        18,
    )
    found["Resize: old"] = [node("Resize", "h", "s")], {"s": np.array([1, 1, 2, 2], np.float32)}, PLANE, 10
    found["Resize: old and linear"] = (
        [node("Resize", "h", "s", mode="linear")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        PLANE,
        10,
    )
    found["Upsample"] = [node("Upsample", "h", "s")], {"s": np.array([1, 1, 2, 2], np.float32)}, PLANE, 9
    found["Upsample by attributes"] = [node("Upsample", scales=[1.0, 1.0, 2.0, 3.0])], {}, PLANE, 7
    found["Upsample, linear"] = [node("Upsample", scales=[1.0, 1.0, 2.0, 2.0], mode="linear")], {}, PLANE, 7
    for mode in ("DCR", "CRD"):
        found[f"DepthToSpace {mode}"] = [node("DepthToSpace", blocksize=2, mode=mode)], {}, (8, 3, 2), 13
    found["SpaceToDepth"] = [node("SpaceToDepth", blocksize=2)], {}, (2, 4, 6), 13
    for order in (1, 2, 3):
        pool = node("LpPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], p=order)
        found[f"LpPool {order}"] = [pool], {}, PLANE, 11
        found[f"GlobalLpPool {order}"] = [node("GlobalLpPool", p=order)], {}, PLANE, 2
    found["LpPool, same"] = (
        [node("LpPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")],
        {},
        PLANE,
        11,
    )
    found["LpPool of a line"] = [node("LpPool", kernel_shape=[3])], {}, LINE, 11
    return found


def scatters() -> dict[str, Form]:
    """Operators that write parts of one value into another, which may be made of the same."""
    first: list[NodeProto] = [
        made("Slice", ["h", "s", "e", "axis"], ["part"]),
        made("Tanh", ["part"], ["u"]),
        made("Shape", ["u"], ["n"]),
        made("Expand", ["i", "n"], ["j"]),
    ]
    held = {"s": integers(0), "e": integers(2), "axis": integers(3)}
    turned = [
        made("Transpose", ["h"], ["t"], perm=[1, 2, 3, 0]),  # positions of images are not written
        made("Slice", ["t", "s", "e", "axis"], ["part"]),
        made("Tanh", ["part"], ["rows"]),
        made("Gather", ["rows", "one"], ["u"]),
    ]
    found: dict[str, Form] = {}
    for how, places in (("none", (5, 1)), ("add", (-1, -1))):
        added = {} if how == "none" else {"reduction": how}
        found[f"ScatterElements, {how}"] = (
            [*first, node("ScatterElements", "h", "j", "u", axis=3, **added)],
            {**held, "i": integers(*places)},
            PLANE,
            16,
        )
        rows = [[0, 1], [2, -1], [1, 3], [0, 1] if how == "add" else [1, 1]]
        found[f"ScatterND, {how}"] = (
            [
                *turned,
                made("ScatterND", ["t", "i", "u"], ["w"], **added),
                node("Transpose", "w", perm=[3, 0, 1, 2]),
            ],
            {
                "s": integers(0),
                "e": integers(4),
                "axis": integers(1),
                "one": np.int64(1),
                "i": np.array(rows),
            },
            PLANE,
            16,
        )
    found["ScatterElements into zeros"] = (
        [
            made("Shape", ["h"], ["n"], start=0, end=1),
            made("Concat", ["n", "two"], ["size"], axis=0),
            made("Expand", ["zero", "size"], ["zeros"]),
            made("Shape", ["h"], ["places"]),
            made("Expand", ["i", "places"], ["j"]),
            made("ScatterElements", ["zeros", "j", "h"], ["w"], axis=1, reduction="add"),
            node("Tanh", "w"),
        ],
        {"two": integers(2), "zero": np.zeros((1, 1), np.float32), "i": integers(1, 0, 1, 1, 0, 1)},
        (6,),
        18,
    )
    return found


def parts() -> dict[str, Form]:
    """Operators that take or repeat parts of a value."""
    index = np.random.default_rng(5).integers(0, 6, (1, 3, 7, 4))
    counted = [made("Shape", ["h"], ["n"], start=0, end=1)]
    found: dict[str, Form] = {
        "Gather": ([node("Gather", "h", "i", axis=1)], {"i": integers(2, 0, 2)}, PLANE, 13),
        "Gather of one": ([node("Gather", "h", "i", axis=2)], {"i": np.int64(-1)}, PLANE, 13),
        "Gather by a matrix": ([node("Gather", "h", "i", axis=-1)],
                               {"i": np.array([[0, 5], [1, 0]], np.int32)}, PLANE, 13),
        "GatherElements": ([*counted, made("Concat", ["n", "z"], ["c"], axis=0), made("Expand", ["i", "c"], ["j"]),
                            node("GatherElements", "h", "j", axis=3)],
                           {"i": index, "z": integers(3, 7, 4)}, PLANE, 15),
        "GatherND": ([*counted, made("Concat", ["n", "z"], ["c"], axis=0), made("Expand", ["i", "c"], ["j"]),
                      node("GatherND", "h", "j", batch_dims=1)],
                     {"i": np.array([[[1, 2], [0, 3], [1, 2]]]), "z": integers(3, 2)}, PLANE, 15),
        "Expand": ([made("ReduceMean", ["h"], ["m"], axes=[3], keepdims=1), node("Expand", "m", "z")],
                   {"z": integers(1, 3, 7, 5)}, PLANE, 13),
        "Expand to more axes": ([node("Expand", "h", "z"), ], {"z": integers(1, 3, 11)}, LINE, 13),
        "Tile": ([node("Tile", "h", "r")], {"r": integers(1, 1, 2, 3)}, PLANE, 13),
        "TopK": ([made("TopK", ["h", "k"], ["y", "i"], axis=1)], {"k": integers(2)}, PLANE, 11),
        "TopK of the least": ([made("TopK", ["h", "k"], ["y", "i"], largest=0)], {"k": integers(2)}, PLANE, 11),
        "TopK by attribute": ([made("TopK", ["h"], ["y", "i"], axis=2, k=3)], {}, PLANE, 9),
        "Trilu": ([node("Trilu", "h")], {}, PLANE, 14),
        "Trilu, lower": ([node("Trilu", "h", "k", upper=0)], {"k": np.int64(-1)}, PLANE, 14),
        "Split in the middle of others": (
            [made("Split", ["h"], ["a", "b"], axis=1, num_outputs=2), made("Sigmoid", ["b"], ["g"]),
             made("Slice", ["a", "s", "e", "one"], ["c"]), node("Mul", "c", "g")],
            {"s": integers(0), "e": integers(2), "one": integers(1)}, (4, 3), 18),
        "sequence first": (
            [made("Transpose", ["h"], ["t"], perm=[1, 0, 2]), made("Reshape", ["t", "z"], ["r"]),
             made("Tanh", ["r"], ["q"]), node("Transpose", "q", perm=[1, 0, 2])],
            {"z": integers(3, -1, 11)}, LINE, 13),
        "heads": (
            [made("Reshape", ["h", "z"], ["r"]), made("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3]),
             made("Softmax", ["t"], ["p"], axis=-1), node("Reshape", "p", "z2")],
            {"z": integers(0, 0, 2, 3), "z2": integers(0, -1)}, (5, 6), 13),
    }  # fmt: skip
    return found


def cells() -> dict[str, Form]:
    """Recurrent cells over 4 steps, with and without biases, first states, and a GRU's reset before its product."""
    found: dict[str, Form] = {}
    given: dict[str, dict[str, Any]] = {
        "plain": {},
        "reverse": {"direction": "reverse"},
        "both ways": {"direction": "bidirectional"},
        "reset late": {"linear_before_reset": 1},
        "last state": {},
        "old": {},
    }
    for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for name, attributes in given.items():
            if name == "reset late" and kind != "GRU":
                continue
            ways = 2 if name == "both ways" else 1
            held = {
                "w": floats(ways, gates * 2, 3),
                "r": floats(ways, gates * 2, 2),
                "b": floats(ways, gates * 4),
            }
            inputs, outputs = ["t", "w", "r", "b"], ["a"]
            if name == "last state":
                inputs = ["t", "w", "r", "", "", "h0", "c0"][: 7 if kind == "LSTM" else 6]
                # A first state that follows the images, so that their number is free.
                outputs = ["", "a"]
            before = [made("Transpose", ["h"], ["t"], perm=[1, 0, 2])]
            if name == "last state":
                states = ["h0", "c0"][: len(inputs) - 5]
                before += [made("MatMul", ["t", f"to {state}"], [f"all {state}"]) for state in states]
                before += [
                    made("ReduceSum", [f"all {state}", "axis"], [state], keepdims=1) for state in states
                ]
                held |= {f"to {state}": floats(3, 2) for state in states} | {"axis": integers(0)}
            after = made("Transpose", ["a"], ["y"], perm=[1, 0, 2] if name == "last state" else [2, 0, 1, 3])
            found[f"cell {kind} {name}"] = (
                [*before, made(kind, inputs, outputs, hidden_size=2, **attributes), after],
                held,
                (4, 3),
                11 if name == "old" else 14,
            )
    return found


def fused() -> dict[str, Form]:
    """Operators that ONNX Runtime puts in place of several; the numerical derivative is ONNX Runtime's own."""
    found: dict[str, Form] = {}

    def own(op: str, *inputs: str, **attributes: Any) -> NodeProto:
        return node(op, *inputs, domain="com.microsoft", **attributes)

    bias, scale = {"b": floats(6)}, {"s": floats(6) + 1}
    shape = (4, 6)
    for op in ("Gelu", "FastGelu", "QuickGelu"):
        found[f"fused {op}"] = [own(op)], {}, shape, 17
    found["fused QuickGelu, other slope"] = [own("QuickGelu", alpha=0.7)], {}, shape, 17
    for op in ("BiasGelu", "FastGelu"):
        found[f"fused {op} of a bias"] = [own(op, "h", "b")], bias, shape, 17
    turned = made("Transpose", ["h"], ["t"], perm=[0, 2, 1])
    for left in (0, 1):
        for right in (0, 1):
            operands = ("t" if left else "h", "h" if right else "t")
            product = own("FusedMatMul", *operands, transA=left, transB=right, alpha=0.5)
            found[f"fused FusedMatMul {left} {right}"] = [turned, product], {}, shape, 17
    for right in (0, 1):
        held = {"w": floats(3, 6) if right else floats(6, 3)}
        found[f"fused FusedMatMul of a weight {right}"] = (
            [own("FusedMatMul", "h", "w", transB=right)],
            held,
            shape,
            17,
        )
    alone = node("SimplifiedLayerNormalization", "h", "s", axis=-1, epsilon=1e-3)
    found["fused SimplifiedLayerNormalization"] = [alone], scale, shape, 17
    bend = made("Tanh", ["h"], ["t"])
    for op, more in (("SkipLayerNormalization", ["b"]), ("SkipSimplifiedLayerNormalization", [])):
        plain, with_bias = ["h", "t", "s", *more], ["h", "t", "s", *more, "c"]
        held = {**scale, **bias, "c": floats(2, 6)[0]}
        found[f"fused {op}"] = [bend, own(op, *plain)], held, shape, 17
        found[f"fused {op} of a bias"] = [bend, own(op, *with_bias, epsilon=0.01)], held, shape, 17
        found[f"fused {op} of a constant"] = (
            [own(op, "h", "k", *plain[2:])],
            {**held, "k": floats(1, *shape)},
            shape,
            17,
        )
    return found


FORMS: dict[str, Form] = {
    **cells(),
    **fused(),
    **pools(),
    **sums(),
    **activations(),
    **arithmetic(),
    **matrices(),
    **norms(),
    **reductions(),
    **planes(),
    **parts(),
    **scatters(),
    "slice attributes": ([node("Slice", starts=[1, 0], ends=[3, 4], axes=[1, 3])], {}, PLANE, 9),
    "slice attributes from the end": ([node("Slice", starts=[-2], ends=[2**31], axes=[2])], {}, PLANE, 5),
    "slice attributes of all axes": ([node("Slice", starts=[0, 1, 2], ends=[2**40, 3, 5])], {}, PLANE, 9),
    "slice inputs": (
        [node("Slice", "h", "s", "e", "a")],
        {"s": integers(1), "e": integers(3), "a": integers(-1)},
        PLANE,
        10,
    ),
    "slice of 32 bits": (
        [node("Slice", "h", "s", "e", "a")],
        {name: np.array([value], np.int32) for name, value in (("s", 1), ("e", 3), ("a", 2))},
        PLANE,
        13,
    ),
    "slice backwards": (
        [node("Slice", "h", "s", "e", "a", "t")],
        {"s": integers(-1), "e": integers(-99), "a": integers(3), "t": integers(-2)},
        PLANE,
        13,
    ),
    "slice by its own shape": (
        [
            made("Shape", ["h"], ["all"]),
            made("Gather", ["all", "two"], ["e"]),
            made("Sub", ["e", "one"], ["less"]),
            node("Slice", "h", "s", "less", "a"),
        ],
        {"two": integers(2), "one": integers(1), "s": integers(0), "a": integers(2)},
        PLANE,
        13,
    ),
    "pad attribute": ([node("Pad", pads=[0, 0, 1, 2, 0, 1, 0, 1])], {}, PLANE, 10),
    "pad attribute negative": ([node("Pad", pads=[0, 0, -1, 2, 0, 0, 0, -2])], {}, PLANE, 2),
    "pad attribute reflected": ([node("Pad", pads=[0, 0, 2, 1, 0, 0, 1, 3], mode="reflect")], {}, PLANE, 9),
    "pad negative": ([node("Pad", "h", "p")], {"p": integers(0, 0, -1, 0, 0, 0, 0, -2)}, PLANE, 13),
    "pad cropping channels": ([node("Pad", "h", "p")], {"p": integers(0, -1, 0, 0, 0, -1, 0, 0)}, PLANE, 13),
    "pad and crop": ([node("Pad", "h", "p")], {"p": integers(0, 1, -2, 3, 0, -1, 1, -1)}, PLANE, 13),
    "pad with a value": (
        [node("Pad", "h", "p", "v")],
        {"p": integers(0, 0, 1, 0, 0, 0, 0, -1), "v": np.float32(3)},
        PLANE,
        13,
    ),
    "pad repeating edges": (
        [node("Pad", "h", "p", mode="edge")],
        {"p": integers(0, 0, 2, 3, 0, 1, 1, 2)},
        PLANE,
        13,
    ),
    "pad reflected": ([node("Pad", "h", "p", mode="reflect")], {"p": integers(0, 0, 2, 3, 0, 0, 1, 2)}, PLANE, 18),
    "pad wrapped": ([node("Pad", "h", "p", mode="wrap")], {"p": integers(0, 0, 1, 2, 0, 0, 0, 1)}, PLANE, 19),
    "pad of some axes": (
        [node("Pad", "h", "p", "", "a")],
        {"p": integers(1, -1, 0, 2), "a": integers(-1, 1)},
        PLANE,
        18,
    ),
    "pad of one axis": ([node("Pad", "h", "p", "", "a")], {"p": integers(1, 2), "a": integers(2)}, PLANE, 18),
    "pad, sequence first": (
        [made("Transpose", ["h"], ["t"], perm=[1, 0, 2]), made("Pad", ["t", "p"], ["q"]),
         node("Transpose", "q", perm=[1, 0, 2])],
        {"p": integers(1, 0, 0, 0, 0, 2)}, LINE, 13,
    ),
    "pad of a line": ([node("Pad", "h", "p")], {"p": integers(0, 0, -3, 0, 0, 2)}, LINE, 13),
    "pad of a space": ([node("Pad", "h", "p")], {"p": integers(0, 0, 1, -1, 0, 0, 0, 1, 0, -2)}, SPACE, 13),
    "clip attributes": ([node("Clip", min=-0.4, max=0.6)], {}, PLANE, 6),
    "clip without limits": ([node("Clip")], {}, PLANE, 11),
    "squeeze attribute": (
        [made("ReduceMean", ["h"], ["m"], axes=[2]), node("Squeeze", "m", axes=[2])], {}, PLANE, 11
    ),
    "unsqueeze attribute": ([node("Unsqueeze", axes=[1, 4])], {}, PLANE, 11),
    "flatten": ([node("Flatten", axis=1)], {}, SPACE, 9),
    "dropout": ([node("Dropout", ratio=0.5)], {}, PLANE, 10),
    "dropout at rest": (
        [node("Dropout", "h", "r", "t")], {"r": np.float32(0.5), "t": np.array(False)}, PLANE, 13
    ),
    "batch norm": (
        [node("BatchNormalization", "h", "s", "b", "m", "v", spatial=1)],
        {"s": floats(3), "b": floats(3), "m": floats(3), "v": floats(3) ** 2 + 1},
        PLANE,
        8,
    ),
    "batch norm through Identity and Cast": (
        [
            made("Identity", ["s"], ["s2"]),
            made("Cast", ["v"], ["v2"], to=TensorProto.FLOAT),
            node("BatchNormalization", "h", "s2", "b", "m", "v2"),
        ],
        {"s": floats(3), "b": floats(3), "m": floats(3), "v": (floats(3) ** 2 + 1).astype(np.float64)},
        PLANE,
        13,
    ),
    "concat": ([made("Tanh", ["h"], ["t"]), node("Concat", "t", "h", axis=-1)], {}, PLANE, 11),
    "transpose": ([node("Transpose", perm=[0, 3, 1, 2])], {}, PLANE, 11),
    "cast there and back": (
        [made("Cast", ["h"], ["d"], to=TensorProto.DOUBLE), node("Cast", "d", to=TensorProto.FLOAT)],
        {},
        PLANE,
        13,
    ),
    "in half precision": (
        [
            made("Cast", ["h"], ["a"], to=TensorProto.FLOAT16),
            made("Conv", ["a", "w"], ["b"]),
            made("AveragePool", ["b"], ["c"], kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
            made("Mul", ["c", "k"], ["d"]),
            made("BatchNormalization", ["d", "s", "s", "s", "v"], ["e"]),
            made("Slice", ["e", "one", "two", "two"], ["f"]),
            node("Cast", "f", to=TensorProto.FLOAT),
        ],
        {
            "w": floats(4, 3, 1, 1).astype(np.float16),
            "k": np.float16(2),
            "s": floats(4).astype(np.float16),
            "v": np.ones(4, np.float16),
            "one": integers(1),
            "two": integers(2),
        },
        PLANE,
        13,
    ),
    "in double precision": (
        [
            made("Cast", ["h"], ["a"], to=TensorProto.DOUBLE),
            made("MatMul", ["a", "w"], ["b"]),
            made("Sigmoid", ["b"], ["c"]),
            made("Add", ["c", "k"], ["d"]),
            node("Cast", "d", to=TensorProto.FLOAT),
        ],
        {"w": floats(6, 4).astype(np.float64), "k": np.float64(2)},
        PLANE,
        13,
    ),
    "split attribute": (
        [made("Split", ["h"], ["a", "b"], axis=3, split=[2, 4]), node("Concat", "b", "a", axis=3)], {}, PLANE, 11
    ),
    "split input, part unread": (
        [made("Split", ["h", "k"], ["a", "b"], axis=2), node("Tanh", "b")], {"k": integers(3, 4)}, PLANE, 13
    ),
    "split number": (
        [made("Split", ["h"], ["a", "b", "c"], axis=1, num_outputs=3), made("Mul", ["c", "a"], ["y"])],
        {},
        PLANE,
        18,
    ),
    "conv of a line": ([node("Conv", "h", "w", strides=[2], pads=[2, 1])], {"w": floats(4, 3, 3)}, LINE, 11),
    "conv of a space": (
        [node("Conv", "h", "w", strides=[1, 2, 2], pads=[1, 0, 1, 0, 1, 1])], {"w": floats(3, 2, 2, 3, 2)}, SPACE, 11
    ),
    "conv with a kernel made of others": (
        [
            made("Transpose", ["w"], ["t"], perm=[3, 2, 0, 1]),
            made("Cast", ["t"], ["k"], to=TensorProto.FLOAT),
            node("Conv", "h", "k"),
        ],
        {"w": floats(3, 2, 3, 5).astype(np.float16)},
        PLANE,
        13,
    ),
    "conv with a kernel of integers": (
        [made("DequantizeLinear", ["w", "s"], ["k"]), node("Conv", "h", "k")],
        {"w": np.arange(-12, 12).reshape(4, 3, 2, 1).astype(np.int8), "s": np.float32(0.1)},
        PLANE,
        13,
    ),
    "matrix from the right": ([node("MatMul", "h", "w")], {"w": floats(6, 4)}, PLANE, 13),
    "gemm": (
        [made("Flatten", ["h"], ["f"]), node("Gemm", "f", "w", "c", transB=1, alpha=0.5, beta=2.0)],
        {"w": floats(4, 33), "c": np.float32(0.3)},
        LINE,
        13,
    ),
    "differences and quotients": (
        [made("Sub", ["k", "h"], ["a"]), made("Mul", ["a", "h"], ["b"]), node("Div", "b", "d")],
        {"k": floats(3, 1, 1), "d": floats(7, 1) ** 2 + 1},
        PLANE,
        7,
    ),
    "the same value twice": ([made("Mul", ["h", "h"], ["a"]), node("Add", "a", "a")], {}, PLANE, 13),
}  # fmt: skip


def graph(
    nodes: list[NodeProto], held: dict[str, Any], shape: tuple[int, ...], opset: int, **options: Any
) -> ModelProto:
    """x → Identity h → the nodes, y → flatten → scores."""
    whole = [made("Identity", ["x"], ["h"]), *nodes, made("Flatten", ["y"], ["scores"])]
    body = helper.make_graph(
        whole,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=8, **options)
