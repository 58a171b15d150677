"""Samples of many rows, masked classes, offsets, numbers of sequences: figures are what ONNX Runtime's outputs say."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.data.samples import Samples
from enxuto.errors import DataError, UsageError
from enxuto.opening import onnx_metadata

node, value = helper.make_node, helper.make_tensor_value_info
RANDOM = np.random.default_rng(0)
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def model(
    nodes: list[NodeProto],
    inputs: list[Any],
    outputs: list[Any],
    constants: dict[str, np.ndarray],
) -> ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    made: ModelProto = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, tensors), opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )  # fmt: skip
    return made


def run(proto: ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, feeds)
    return found


def by_rows(axes: list[str | int], ids: bool = False) -> ModelProto:
    """A network whose first axis is of steps, each of which has a row in the output."""
    nodes = [node("Gather", ["table", "x"], ["e"])] if ids else [node("Identity", ["x"], ["e"])]
    nodes += [
        node("MatMul", ["e", "u"], ["h"]), node("Tanh", ["h"], ["t"]),
        node("CumSum", ["t", "first"], ["c"]), node("Tanh", ["c"], ["k"]), node("MatMul", ["k", "v"], ["y"]),
    ]  # fmt: skip
    constants = {"u": normal(8, 24, scale=0.5), "v": normal(24, 5, scale=0.5), "first": np.array(0)}
    if ids:
        constants["table"] = normal(30, 8)
    out = [*axes, 5] if ids else [*axes[:-1], 5]
    return model(nodes, [value("x", INT64 if ids else FLOAT, axes)], [value("y", FLOAT, out)], constants)


def rows(*shape: int) -> list[np.ndarray]:
    return [normal(*shape) * np.float32(1 if i < 8 else 4) for i in range(40)]


KINDS = {
    "steps": (by_rows(["T", 8]), rows(6, 8)),
    "steps of one": (by_rows(["T", 1, 8]), rows(6, 1, 8)),
    "ids": (by_rows(["s"], ids=True), [RANDOM.integers(0, 30, 9) for _ in range(40)]),
}


@pytest.mark.parametrize("given", ["an array", "dicts"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("judged", ["values", "classes"])
def test_a_sample_of_many_rows_is_one_sample(kind: str, judged: str, given: str) -> None:
    proto, samples = KINDS[kind]
    data: Any = {"x": np.stack(samples)} if given == "an array" else [{"x": one} for one in samples]
    bound: dict[str, Any] = {"min_snr": 25} if judged == "values" else {"max_kl": 0.01}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(proto, data=data, outputs={"y": judged}, threads=1, **bound)
        found = enxuto.evaluate(made.model, data, reference=proto, outputs={"y": judged}, threads=1)
    before, after = (
        np.concatenate([run(one, {"x": sample})[0].reshape(-1, 5) for sample in samples]).astype(np.float64)
        for one in (proto, made.model.to_proto())
    )
    assert found.samples == len(samples)
    if judged == "values":
        truth = 10 * np.log10(before.var() / np.square(after - before).mean())
        assert found.snr_db == pytest.approx(truth, abs=1e-3)
        assert truth > 22
    else:
        logs = [x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (before, after)]
        truth = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1).mean()
        assert found.kl == pytest.approx(truth, rel=1e-3)
        assert found.agreement == pytest.approx(100 * (before.argmax(-1) == after.argmax(-1)).mean())


@pytest.mark.parametrize("shape", [(), (6,), (6, 3), (0, 3)])
def test_only_rows_go_together(shape: tuple[int, ...]) -> None:
    samples = Samples({"x": [np.zeros(shape) for _ in range(3)], "y": [np.zeros((1, 2))] * 3})
    assert [group.count for group in samples.groups()] == [1, 1, 1]
    assert all(group.feeds["x"].shape == shape for group in samples.groups())


@pytest.mark.parametrize("end", ["LogSoftmax", "Softmax", ""])
def test_classes_masked_by_infinity_in_some_samples_count_for_nothing(end: str) -> None:
    nodes = [
        node("MatMul", ["x", "u"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "v"], ["s"]),
        node("Where", ["mask", "low", "s"], ["m" if end else "logits"]),
    ]  # fmt: skip
    nodes += [node(end, ["m"], ["logits"], axis=-1)] if end else []
    inputs = [value("x", FLOAT, ["n", 8]), value("mask", BOOL, ["n", 6])]
    constants = {
        "u": normal(8, 16, scale=0.4),
        "v": normal(16, 6, scale=0.4),
        "low": np.array(-np.inf, np.float32),
    }
    proto = model(nodes, inputs, [value("logits", FLOAT, ["n", 6])], constants)
    mask = np.zeros((60, 6), bool)
    mask[np.arange(60), np.arange(60) % 6] = True
    data = {"x": normal(60, 8), "mask": mask}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(proto, data=data, max_kl=0.005, threads=1)
        found = enxuto.evaluate(made.model, data, reference=proto, threads=1)
    chances = []
    for one in (proto, made.model.to_proto()):
        scores = run(one, data)[0].astype(np.float64)
        shares = scores if end == "Softmax" else np.exp(scores - scores.max(1, keepdims=True))
        chances.append(shares / shares.sum(1, keepdims=True))
    p, q = (np.where(mask, 1.0, one) for one in chances)
    assert found.kl == pytest.approx((np.where(mask, 0, p) * np.log(p / q)).sum(1).mean(), rel=1e-3)
    assert made.file_bytes < 1200


def masked(move: bool, scale: float) -> ModelProto:
    nodes = [node("MatMul", ["x", "u"], ["s"]), node("Where", ["mask", "low", "s"], ["logits"])]
    constants = {"u": normal(8, 6, scale=scale), "low": np.array(-np.inf, np.float32)}
    if move:  # the two classes that are never masked
        constants["u"][:, 1] = constants["u"][:, 0]
    inputs = [value("x", FLOAT, ["n", 8]), value("mask", BOOL, ["n", 6])]
    return model(nodes, inputs, [value("logits", FLOAT, ["n", 6])], constants)


@pytest.mark.parametrize("rotates", [True, False])
def test_masks_alone_tell_no_classes_apart(rotates: bool) -> None:
    mask = np.zeros((60, 6), bool)
    mask[np.arange(60), np.arange(60) % 6 if rotates else 2] = True
    with pytest.raises(UsageError, match="the same for all"):
        enxuto.compress(masked(False, 0.0), data={"x": normal(60, 8), "mask": mask}, max_kl=0.01, threads=1)


def test_classes_that_are_masked_in_some_samples_tell_apart_those_that_never_are() -> None:
    mask = np.zeros((60, 6), bool)
    mask[np.arange(60), 2 + np.arange(60) % 4] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(
            masked(True, 0.4), data={"x": normal(60, 8), "mask": mask}, max_kl=0.01, threads=1
        )
    judged = [trial.judgement for trial in made.trials]
    assert judged
    assert all(one is not None and one.kl > 0 for one in judged), (
        "classes that differ where they are not masked count"
    )


def offsets(*columns: float, width: float = 0.05) -> ModelProto:
    nodes = [
        node("MatMul", ["x", "u"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("Gemm", ["t", "v", "b"], ["y"]),
    ]
    constants = {
        "u": normal(8, 16, scale=0.4),
        "v": normal(16, 4, scale=width),
        "b": np.array(columns, np.float32),
    }
    return model(nodes, [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, ["n", 4])], constants)


def test_columns_far_apart_are_told_of() -> None:
    """dB of all values count offsets as signal, so that a file of nothing may keep thirty of them."""
    with pytest.warns(UserWarning, match=r"output 'y': its columns differ from one another .* dB more"):
        enxuto.compress(offsets(1000, 0, -500, 3), data={"x": normal(60, 8)}, min_snr=30, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enxuto.compress(
            offsets(0, 0, 0, 0, width=0.5),
            data={"x": normal(60, 8)},
            min_snr=30,
            outputs={"y": "values"},
            threads=1,
        )


def test_columns_that_are_the_same_for_all_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="the same for all samples"):
        enxuto.compress(offsets(10, 0, -5, 3, width=0.0), data={"x": normal(60, 8)}, min_snr=30, threads=1)


def rated() -> ModelProto:
    """A network with a state that is fed back, and a number that is one for a whole sequence."""
    nodes = [
        node("Concat", ["x", "state"], ["c"], axis=1), node("MatMul", ["c", "u"], ["h"]),
        node("Tanh", ["h"], ["next"]), node("MatMul", ["next", "v"], ["s"]), node("Cast", ["rate"], ["f"], to=FLOAT),
        node("Mul", ["s", "f"], ["y"]),
    ]  # fmt: skip
    inputs = [value("x", FLOAT, [1, 6]), value("state", FLOAT, [1, 10]), value("rate", INT64, [])]
    outputs = [value("y", FLOAT, [1, 3]), value("next", FLOAT, [1, 10])]
    return model(nodes, inputs, outputs, {"u": normal(16, 10, scale=0.3), "v": normal(10, 3)})


@pytest.mark.parametrize("given", ["arrays", "dicts", "steps"])
def test_a_single_number_may_be_one_of_a_sequence_or_of_every_step(given: str) -> None:
    proto, x = rated(), normal(20, 7, 1, 6)
    rates = 1 + np.arange(20) % 3
    data: Any = {"x": x, "rate": rates}
    if given == "dicts":
        data = [{"x": one, "rate": rate} for one, rate in zip(x, rates, strict=True)]
    elif given == "steps":
        data["rate"] = np.repeat(rates[:, None], 7, axis=1)
    how: dict[str, Any] = {
        "feedback": {"next": "state"},
        "outputs": {"y": "values", "next": "ignore"},
        "threads": 1,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(proto, data=data, min_snr=20, **how)
        found = enxuto.evaluate(made.model, data, reference=proto, **how)
    both = []
    for one in (proto, made.model.to_proto()):
        given_back = []
        for sequence, rate in zip(x, rates, strict=True):
            state = np.zeros((1, 10), np.float32)
            for step in sequence:
                y, state = run(one, {"x": step, "state": state, "rate": np.array(rate)})
                given_back.append(y)
        both.append(np.concatenate(given_back).astype(np.float64))
    truth = 10 * np.log10(both[0].var() / np.square(both[1] - both[0]).mean())
    assert found.snr_db == pytest.approx(truth, abs=1e-3)


def test_a_decoded_model_is_judged_as_its_file(tmp_path: Path) -> None:
    """Kinds that were asked for are in the ONNX model, too."""
    proto = offsets(0, 0, 0, 0, width=0.5)
    data = {"x": normal(60, 8)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(proto, data=data, bits=40, outputs={"y": "classes"}, threads=1)
    made.save(tmp_path / "m.enx")
    made.write_onnx(tmp_path / "m.onnx")
    found = [
        enxuto.evaluate(tmp_path / name, data, reference=proto, threads=1) for name in ("m.enx", "m.onnx")
    ]
    assert found[0].kl == found[1].kl > 0
    assert found[0].snr_db is None
    assert found[1].snr_db is None
    assert enxuto.verify(tmp_path / "m.enx", enxuto.Model.from_proto(proto)).ok
    again = enxuto.compress(tmp_path / "m.onnx", bits=40, threads=1)
    assert onnx_metadata(again.model)["outputs_are"] == {"y": "classes"}


def test_kinds_of_another_file_do_not_outlive_a_second_calibration() -> None:
    proto = offsets(0, 0, 0, 0, width=0.5)
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "logits"
    data = {"x": normal(60, 8)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        first = enxuto.compress(proto, data=data, bits=40, outputs={"logits": "values"}, threads=1)
        again = enxuto.compress(first.model, data=data, bits=40, threads=1)
        found = enxuto.evaluate(again.model, data, reference=proto, threads=1)
    assert onnx_metadata(first.model)["outputs_are"] == {"logits": "values"}
    assert onnx_metadata(again.model)["outputs_are"] == again.metadata["outputs_are"] == {"logits": "classes"}
    assert found.snr_db is None


@pytest.mark.parametrize("weight", [1e-7, 1e7])
def test_weights_of_outputs_lie_within_reason(weight: float) -> None:
    outputs = {"y": ("values", weight)}
    with pytest.raises(UsageError, match=r"from 1e-06 to 1e\+06, not"):
        enxuto.compress(offsets(0, 0, 0, 0), data={"x": normal(60, 8)}, bits=40, outputs=outputs)


def test_sequences_without_steps_are_refused() -> None:
    nodes = [
        node("Cast", ["rate"], ["f"], to=FLOAT),
        node("Mul", ["state", "f"], ["m"]),
        node("MatMul", ["m", "u"], ["next"]),
    ]
    inputs = [value("rate", INT64, []), value("state", FLOAT, [1, 10])]
    proto = model(nodes, inputs, [value("next", FLOAT, [1, 10])], {"u": normal(10, 10)})
    data = {"rate": np.arange(20), "state": normal(20, 1, 10)}
    with pytest.raises(DataError, match=r"no array has an axis of steps; give 'rate' one"):
        enxuto.compress(proto, data=data, bits=12, feedback={"next": "state"})


def test_gradients_too_large_for_their_squares_are_left_out() -> None:
    nodes = [node("MatMul", ["x", "u"], ["h"]), node("Mul", ["h", "large"], ["y"])]
    constants = {"u": normal(8, 5, scale=1e-30), "large": np.array(1e30, np.float32)}
    proto = model(nodes, [value("x", FLOAT, ["n", 8])], [value("y", FLOAT, ["n", 5])], constants)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(proto, data={"x": normal(60, 8)}, outputs={"y": "values"}, bits=120, threads=1)
    assert made.calibrated is not None
    assert "reaches" in str(made.calibrated.calibration.reason)


@pytest.mark.parametrize("rank", [1, 2])
def test_lists_of_arrays_of_other_lengths_are_samples(rank: int) -> None:
    proto = by_rows(["n", "s"], ids=True) if rank == 2 else by_rows(["s"], ids=True)
    samples = [RANDOM.integers(0, 30, 3 + i % 4) for i in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        one, other = (
            enxuto.compress(proto, data=data, outputs={"y": "values"}, bits=12, threads=1).to_bytes()
            for data in ({"x": samples}, [{"x": sample} for sample in samples])
        )
    assert one == other


def test_what_is_no_sample_of_several_inputs_says_what_to_give() -> None:
    inputs = [value("a", FLOAT, ["n", 4]), value("b", FLOAT, ["n", 4])]
    proto = model([node("Add", ["a", "b"], ["s"]), node("MatMul", ["s", "u"], ["y"])], inputs,
                  [value("y", FLOAT, ["n", 3])], {"u": normal(4, 3)})  # fmt: skip
    for data in (normal(9, 4), (normal(9, 4), normal(9, 4))):
        with pytest.raises(DataError, match=r"2 inputs; give data=\{'a': …, 'b': …\}"):
            enxuto.compress(proto, data=data, bits=12)
    with pytest.raises(DataError, match=r"rows of one differ in length"):
        enxuto.compress(proto, data={"a": [[[1, 2], [3]]], "b": normal(1, 4)}, bits=12)
