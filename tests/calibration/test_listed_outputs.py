"""Outputs that are no tensors: what they are made of is judged in their place, or they are left out."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TypeProto, helper, numpy_helper

from enxuto.calibration.output_losses import computed_outputs, listed_outputs
from enxuto.calibration.outputs import find_losses
from enxuto.compression.compress import compress
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.model_evaluation import evaluate
from enxuto.onnx_model import Model

N = helper.make_node
FLOATS = helper.make_tensor_type_proto(1, None)
SEQUENCE = helper.make_sequence_type_proto(FLOATS)
MAPS = helper.make_sequence_type_proto(helper.make_map_type_proto(7, FLOATS))
X = np.random.default_rng(2).standard_normal((48, 20)).astype(np.float32)

KINDS: dict[str, tuple[list[NodeProto], TypeProto, tuple[str, ...]]] = {
    "SplitToSequence": ([N("SplitToSequence", ["y"], ["s"], axis=1)], SEQUENCE, ("y",)),
    "SequenceConstruct": ([N("SequenceConstruct", ["y", "h"], ["s"])], SEQUENCE, ("y", "h")),
    "SequenceInsert": (
        [N("SequenceConstruct", ["y"], ["one"]), N("SequenceInsert", ["one", "h"], ["s"])],
        SEQUENCE,
        ("y", "h"),
    ),
    "Identity behind": (
        [N("SequenceConstruct", ["y"], ["one"]), N("Identity", ["one"], ["s"])],
        SEQUENCE,
        ("y",),
    ),
    "ZipMap": ([N("ZipMap", ["y"], ["s"], domain="ai.onnx.ml", classlabels_int64s=list(range(6)))], MAPS, ("y",)),
    "Optional": ([N("Optional", ["y"], ["s"])], helper.make_optional_type_proto(FLOATS), ("y",)),
    "not known": ([N("SequenceMap", ["q"], ["s"], body=helper.make_graph(
        [N("Neg", ["i"], ["o"])], "body", [helper.make_tensor_value_info("i", 1, None)],
        [helper.make_tensor_value_info("o", 1, None)])), ], SEQUENCE, ()),
}  # fmt: skip
KINDS["not known"][0].insert(0, N("SplitToSequence", ["y"], ["q"], axis=1))


def network(kind: str, *, alone: bool) -> ModelProto:
    """Two layers; the output is a list, beside values `z` unless it is alone."""
    last, made, _ = KINDS[kind]
    random = np.random.default_rng(3)
    weights = {"w": random.standard_normal((20, 32)), "v": random.standard_normal((32, 6))}
    nodes = [N("MatMul", ["x", "w"], ["a"]), N("Tanh", ["a"], ["h"]), N("MatMul", ["h", "v"], ["y"]), *last]
    outputs = [helper.make_value_info("s", made)]
    if not alone:
        nodes.append(N("Neg", ["h"], ["z"]))
        outputs.append(helper.make_tensor_value_info("z", 1, ["n", 32]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 20])],
        outputs,
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=8,
        functions=[],
    )


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_judged(kind: str, alone: bool) -> None:
    model, behind = Model.from_proto(network(kind, alone=alone)), KINDS[kind][2]
    assert listed_outputs(model) == {"s": behind}
    if alone and not behind:
        with pytest.raises(UsageError, match="'s' is left out: it is no tensor"):
            find_losses(model, Samples({"x": X}), threads=1)
        return
    names = [item.name for item in computed_outputs(model).proto.graph.output]
    assert names == [*behind, *([] if alone else ["z"])]
    found = find_losses(model, Samples({"x": X}), threads=1)
    assert [loss.name for loss in found.losses] == names
    assert any("'s' is" in remark and "no tensor" in remark for remark in found.remarks)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_files_with_and_without_data(kind: str) -> None:
    model = Model.from_proto(network(kind, alone=kind != "not known"))
    free = compress(model, threads=1)
    assert free.compressed.to_model().proto.graph.output[0].name == "s"
    calibrated = compress(model, calibration={"x": X}, bits=16, threads=1)
    found = evaluate(calibrated.compressed, {"x": X}, reference=model, threads=1)
    if found.agreement is None:
        assert found.snr_db is not None
        assert 20 < found.snr_db < 80
    else:
        assert found.agreement > 90
        assert 0 < found.kl < 0.02


def test_choices_of_a_sequence_are_of_its_tensors() -> None:
    model = Model.from_proto(network("SequenceConstruct", alone=False))
    found = find_losses(model, Samples({"x": X}), {"h": ("values", 2.0), "s": ("ignore", 1.0)}, threads=1)
    assert [(loss.name, loss.weight) for loss in found.losses] == [("h", 2.0), ("z", 1.0)]
    (told,) = (remark for remark in found.remarks if "'s' is no tensor" in remark)
    assert told.endswith("in its place: 'h'")  # and not 'y', which is ignored
    with pytest.raises(UsageError, match="no output 'q'"):
        find_losses(model, Samples({"x": X}), {"q": ("ignore", 1.0)}, threads=1)


def test_a_model_of_unknown_lists_alone_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="'s' is left out: it is no tensor"):
        compress(Model.from_proto(network("not known", alone=True)), calibration={"x": X}, bits=16, threads=1)
