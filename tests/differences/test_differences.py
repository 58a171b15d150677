"""Difference files: the new file comes back to the byte, whatever kinds of tensors it has, and takes few bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

import enxuto
from enx_samples import small_model
from enxuto.compression.data_free import compress
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.differences.copies import apply_copies, find_copies
from enxuto.differences.patch import Patch
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.enx.verify import verify
from enxuto.errors import DataError, FormatError, UsageError
from enxuto.onnx_model import Model
from enxuto.quantize.scalar import Half, Minifloat, MuLaw
from enxuto.quantize.schemes import RangeSteps, SameQuantizer, Scheme
from enxuto.quantize.trellis import multiples, states_before
from enxuto.rounding.near_old import carry_along

SCHEMES: dict[str, Callable[[Model], CompressedModel]] = {
    "trellis": compress,
    "nearest": lambda model: compress(model, rounding="nearest"),
    "rate": lambda model: compress(model, rounding="rate"),
    "channels": lambda model: compress(model, RangeSteps(12, "channel")),
    "mu-law": lambda model: compress(model, _same(MuLaw(64, 255.0))),
    "minifloat": lambda model: compress(model, _same(Minifloat(3, 3))),
    "half": lambda model: compress(model, _same(Half())),
    "exact": lambda model: compress(model, keep_exact=["*"]),
    "folded": lambda model: compress(model, fold_bn=True),
}


def _same(quantizer: MuLaw | Minifloat | Half) -> Scheme:
    return SameQuantizer(quantizer)


def floats(model: Model) -> list[str]:
    return [info.name for info in model.infos() if info.dtype == np.float32 and info.elements > 4]


def nudged(model: Model, share: float, names: list[str] | None = None, seed: int = 0) -> Model:
    """The model with weights moved by a share of their own spread."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for name in names or floats(model):
        before = np.asarray(model.load(name))
        move = generator.normal(0, share * float(before.std() or 1), before.shape)
        arrays[name] = (before + move).astype(before.dtype)
    return model.replace_weights(arrays)


@pytest.fixture(scope="module")
def digits() -> Model:
    return Model.read(MODEL)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("share", [0.0, 0.01, 3.0])
def test_the_new_file_comes_back(scheme: str, share: float, tmp_path: Path) -> None:
    """A patch read from its file makes the same bytes; what changed nowhere takes next to none."""
    model = small_model()
    old = SCHEMES[scheme](model)
    patch = enxuto.diff(old, nudged(model, share) if share else model)
    path = tmp_path / "patch.enxd"
    assert patch.save(path) == path.stat().st_size == patch.file_bytes
    made = Patch.read(path).apply(old)
    assert hashlib.sha256(made.to_bytes()).hexdigest() == patch.table.result
    if not share:
        assert made.to_bytes() == old.to_bytes()
        assert patch.file_bytes < 350


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("other", ["trellis", "channels"])
def test_an_enx_file_made_otherwise_comes_back(scheme: str, other: str) -> None:
    """Other grids, other coders, exact tensors where there were levels: still to the byte."""
    old, new = SCHEMES[scheme](small_model()), SCHEMES[other](nudged(small_model(), 0.01))
    assert enxuto.diff(old, new).apply(old).to_bytes() == new.to_bytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.int64, np.uint16, np.bool_])
def test_exact_tensors_of_all_types(dtype: type, digits: Model) -> None:
    """Differences of exact values wrap around, in words of one to eight bytes."""
    generator = np.random.default_rng(0)
    before = (1000 * generator.normal(size=(40, 50))).astype(dtype)
    after = np.where(generator.random(before.shape) < 0.05, ~before if dtype is np.bool_ else -before, before)
    models = [_with_constant(digits, array) for array in (before, after)]
    old, new = (compress(model) for model in models)
    assert enxuto.diff(old, new).apply(old).to_bytes() == new.to_bytes()


def _with_constant(model: Model, array: np.ndarray) -> Model:
    proto = model.to_proto()
    proto.graph.initializer.append(numpy_helper.from_array(array, "table"))
    return Model.from_proto(proto)


def test_a_last_layer_takes_a_tenth(digits: Model) -> None:
    """One changed tensor costs its own moves and little else, and the answers are those of the new network."""
    old = enxuto.compress(digits, bits=3, threads=1).compressed
    last = [name for name in floats(digits) if "fc" in name or "3" in name][-2:]
    new = nudged(digits, 0.02, last)
    patch = enxuto.diff(old, new)
    assert patch.file_bytes < old.file_bytes / 10
    kept = {name for entry, _ in old.entries() if (name := entry.name) not in last}
    before, after = old.to_model(), patch.apply(old).to_model()
    assert all(np.array_equal(before.load(name), after.load(name)) for name in kept)


def test_verify_knows_the_new_network(digits: Model) -> None:
    """Levels that stay where they are, are within what `verify` allows."""
    for rounding in ("trellis", "nearest"):
        new = nudged(digits, 0.05)
        made = enxuto.diff(compress(digits, rounding=rounding), new).apply(
            compress(digits, rounding=rounding)
        )
        assert verify(made, new).ok


def test_small_changes_of_a_calibrated_file_are_kept_with_its_original(digits: Model) -> None:
    """A drift far below a step arrives: sums along rows follow, though no weight moves by itself."""
    old = enxuto.compress(digits, bits=3, data=TEST_IMAGES, threads=1).compressed
    assert "calibrated" in old.metadata
    name = max(floats(digits), key=lambda one: digits.info(one).elements)
    drift = 0.02 * float(np.abs(digits.load(name)).max())
    new = digits.replace_weights({name: digits.load(name) + np.float32(drift)})
    patch = enxuto.diff(old, new, original=MODEL)
    moved = patch.apply(old).to_model().load(name) - old.to_model().load(name)
    assert abs(float(moved.mean()) / drift - 1) < 0.1
    assert patch.file_bytes < old.file_bytes / 3
    with pytest.raises(DataError, match="not made from the original"):
        enxuto.diff(old, new, original=new)


def test_a_layer_of_another_shape_is_compressed_anew() -> None:
    """A head with more classes: what fits stays, the rest is as `compress` has it."""
    model = small_model()
    old = compress(model)
    proto = compress(model).to_model().to_proto()
    name = max((i for i in proto.graph.initializer if i.data_type == 1), key=lambda i: np.prod(i.dims)).name
    for index, tensor in enumerate(proto.graph.initializer):
        if tensor.name == name:
            grown = np.concatenate([numpy_helper.to_array(tensor)] * 2)
            proto.graph.initializer[index].CopyFrom(numpy_helper.from_array(grown, name))
    new = Model.from_proto(proto)
    made = enxuto.diff(old, new).apply(old)
    assert made.to_model().load(name).shape == grown.shape
    assert float(np.abs(made.to_model().load(name) - grown).max()) < float(np.abs(grown).max()) / 8


def test_changed_weights_of_a_calibrated_file_need_its_original(digits: Model) -> None:
    """Rounded anew on a calibrated file's large steps, most of them would be zero; what it holds exactly may change."""
    bias = min((one for one in floats(digits) if digits.info(one).shape == (10,)), key=len)
    old = enxuto.compress(digits, max_kl=0.05, data=TEST_IMAGES, threads=1, keep_exact=[bias]).compressed
    tuned, other_bias = nudged(digits, 0.001), {bias: digits.load(bias) + np.float32(0.1)}
    with pytest.raises(
        UsageError, match="give original=, the model that the old file was made from"
    ) as raised:
        enxuto.diff(old, tuned)
    assert raised.value.code == "E023"
    for new, original in ((tuned, digits), (digits.replace_weights(other_bias), None)):
        made = enxuto.diff(old, new, original=original).apply(old)
        agreement = enxuto.evaluate(made.to_model(), TEST_IMAGES, reference=new).agreement
        assert agreement is not None
        assert agreement > 0.9


@pytest.mark.parametrize("nudge", [0.0, 0.001])
def test_what_was_trained_from_a_calibrated_file_needs_no_original(nudge: float, digits: Model) -> None:
    """Its weights lie on the old levels, or near to them: nothing was calibrated away that an original would tell."""
    old = enxuto.compress(digits, max_kl=0.05, data=TEST_IMAGES, threads=1).compressed
    decoded = old.to_model()
    new = nudged(decoded, nudge) if nudge else decoded
    patch = enxuto.diff(old, new)
    made = patch.apply(old).to_model()
    agreement = enxuto.evaluate(made, TEST_IMAGES, reference=new).agreement
    assert agreement is not None
    assert agreement > 0.98
    if not nudge:
        assert all(np.array_equal(made.load(name), decoded.load(name)) for name in floats(decoded))
        assert patch.file_bytes < old.file_bytes / 10


def test_a_frozen_body_under_a_new_head_needs_no_original(digits: Model) -> None:
    """Where a layer has another shape, the others are still known by their hashes."""
    old = enxuto.compress(digits, max_kl=0.05, data=TEST_IMAGES, threads=1).compressed
    proto = digits.to_proto()
    for tensor in proto.graph.initializer:
        if tensor.dims[0] == 10:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:5], tensor.name))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    new = Model.from_proto(proto)
    made = enxuto.diff(old, new).apply(old).to_model()
    kept = [
        name
        for name in made.weight_names
        if name in new and name.endswith("weight") and made.info(name).shape[0] != 5
    ]
    assert len(kept) == 4
    before = old.to_model()
    assert all(np.array_equal(made.load(name), before.load(name)) for name in kept)


@pytest.mark.parametrize("change", ["more", "one", "renamed"])
@pytest.mark.parametrize("exact", [[], ["*"], ["largest"]])
def test_a_changed_head_of_a_calibrated_file_arrives_with_its_original(
    change: str, exact: list[str], digits: Model
) -> None:
    """Exact tensors of the old file that the new network has in another shape, or not at all, are none of its own."""
    head = min((one for one in floats(digits) if digits.info(one).shape[:1] == (10,)), key=len)
    kept = [head if one == "largest" else one for one in exact]
    if exact == ["*"]:
        kept = [one for one in floats(digits) if len(digits.info(one).shape) == 1]
    old = enxuto.compress(digits, bits=5, data=TEST_IMAGES, threads=1, keep_exact=kept).compressed
    proto = digits.to_proto()
    outputs = {"more": 12, "one": 1, "renamed": 10}[change]
    for tensor in proto.graph.initializer:
        if tensor.dims[0] == 10:
            array = numpy_helper.to_array(tensor)
            name = "head." + tensor.name if change == "renamed" else tensor.name
            for used in proto.graph.node:
                used.input[:] = [name if one == tensor.name else one for one in used.input]
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate([array] * 2)[:outputs], name))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = outputs
    new = Model.from_proto(proto)
    made = enxuto.diff(old, new, original=digits).apply(old)
    assert verify(made, new).ok


@pytest.mark.parametrize(
    ("own", "outputs", "labels"),
    [
        ({}, 5, list("vwxyz")),
        ({"enxuto.labels": list("abcde")}, 5, list("abcde")),
        ({"names": {0: "a"}}, 5, None),
        ({}, 4, None),
        ({"enxuto.labels": list("abcd"), "enxuto.preprocess": {"divide_by": 127.0}}, 4, list("abcd")),
    ],
)
def test_the_new_file_tells_what_the_new_network_tells(
    own: dict[str, object], outputs: int, labels: list[str] | None
) -> None:
    """Its labels and preprocessing, not the old network's; the old ones only where it has none and they can fit."""
    known = {
        "labels": list("vwxyz"),
        "preprocess": {"divide_by": 255.0},
        "original": {"bytes": 9, "xz_bytes": 8},
    }
    old, proto = compress(small_model(), metadata=known), small_model().to_proto()
    for key, value in own.items():
        proto.metadata_props.add(key=key, value=json.dumps(value))
    for tensor in proto.graph.initializer:
        if tensor.name in ("fc.w", "fc.b"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:outputs], tensor.name))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = outputs
    facts = enxuto.diff(old, nudged(Model.from_proto(proto), 0.1)).apply(old).metadata
    assert facts.get("labels") == labels
    assert facts["preprocess"] == own.get("enxuto.preprocess", known["preprocess"])
    assert "original" not in facts


@pytest.mark.parametrize(
    ("scheme", "far"), [*((scheme, 1e30) for scheme in SCHEMES), ("minifloat", 70.0), ("trellis", 1e6)]
)
def test_weights_beyond_the_old_grid_arrive(scheme: str, far: float) -> None:
    """No level of the old file may stand for one: the tensor is then compressed anew, and never left as it was."""
    model = small_model()
    old, weight = SCHEMES[scheme](model), model.load("fc.w").copy()
    weight[2, 3] = far
    made = enxuto.diff(old, model.replace_weights({"fc.w": weight})).apply(old).to_model().load("fc.w")
    assert abs(made[2, 3] / far - 1) < 0.1


def test_the_base_must_be_the_one(tmp_path: Path) -> None:
    """Another file is refused by its hash, also one whose decoded weights are the same."""
    old, other = compress(small_model()), compress(nudged(small_model(), 0.1))
    patch = enxuto.diff(old, nudged(small_model(), 0.01))
    with pytest.raises(FormatError, match="to another file") as caught:
        patch.apply(other)
    assert caught.value.code == "E054"
    other.save(tmp_path / "other.enx")
    with pytest.raises(FormatError, match="to another file"):
        enxuto.apply(tmp_path / "other.enx", patch)


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_prices_that_are_none(price: float) -> None:
    with pytest.raises(UsageError, match="price="):
        enxuto.diff(compress(small_model()), small_model(), price=price)


@pytest.mark.parametrize("given", [{"price": 0.1}, {"original": small_model()}])
def test_what_has_no_effect_beside_an_enx_file_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is for a new model in ONNX"):
        enxuto.diff(compress(small_model()), compress(small_model()), **given)


def test_a_higher_price_makes_a_shorter_file(digits: Model) -> None:
    old, new = compress(digits), nudged(digits, 0.03)
    sizes = [enxuto.diff(old, new, price=price).file_bytes for price in (0.0, 0.01, 0.1, 1.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b""),
        (b"", b"abc"),
        (b"abc" * 100, b""),
        (b"abc" * 100, b"abc" * 100),
        (bytes(range(256)) * 4, bytes(range(256)) * 2 + b"other" + bytes(range(256)) * 2),
        (bytes(range(256)), bytes(range(128, 256)) + bytes(range(128))),
    ],
)
def test_copies(old: bytes, new: bytes) -> None:
    found = find_copies(old, new)
    assert apply_copies(old, found, len(new)) == new
    for length in (len(new) - 1, len(new) + 1):
        if length >= 0:
            with pytest.raises(FormatError):
                apply_copies(old, found, length)


@pytest.mark.parametrize(
    ("begin", "before", "after", "end"),
    [
        (100_000, b"", b"longer", 100_000),
        (100_000, b"shorter", b"", 100_000),
        (0, b"one", b"other", 150_000),
        (150_000, b"one", b"other", 0),
        (150_000, b"", b"", 0),
        (0, b"", b"new" * 50_000, 0),
    ],
)
def test_what_is_too_large_to_search_is_copied_from_both_ends(
    begin: int, before: bytes, after: bytes, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands between may be of another length; each byte is looked at once."""
    monkeypatch.setattr("enxuto.differences.copies._LARGEST", 1 << 16)
    same = np.random.default_rng(0).bytes(begin + end)
    old, new = same[:begin] + before + same[begin:], same[:begin] + after + same[begin:]
    found = find_copies(old, new)
    assert apply_copies(old, found, len(new)) == new
    assert len(found) <= len(after) + 20


@pytest.mark.parametrize("states", [0, 8, 32])
@pytest.mark.parametrize("drift", [0.05, -0.4])
def test_sums_of_values_follow_small_changes(states: int, drift: float) -> None:
    """Also on a trellis, where a move of two levels is less than four steps in odd states across zero."""
    random = np.random.default_rng(0)
    old = random.laplace(0, 0.7, (6, 20, 10)).round().astype(np.int32)
    change = random.normal(drift, 0.02, old.shape)
    new = carry_along(old, change, states)
    values = [multiples(one, states) if states else one for one in (old, new)]
    off = np.cumsum((values[1] - values[0] - change).reshape(6, -1), axis=1)
    assert float(np.abs(off).max()) <= (2.0 if states else 0.5) + 1e-9
    if states:
        np.testing.assert_array_equal(states_before(new, states), states_before(old, states))


@pytest.mark.parametrize("rounding", ["trellis", "nearest"])
def test_a_weight_of_a_billion_steps_arrives(rounding: str) -> None:
    """No level says so much: the tensor is stored exactly, and does not stay as it was."""
    old = compress(small_model(), rounding=rounding)
    name = next(entry.name for entry, payload in old.entries() if isinstance(payload.row, LevelsRow))
    weight = np.array(small_model().load(name))
    weight.reshape(-1)[3] = 1e12
    made = enxuto.diff(old, small_model().replace_weights({name: weight})).apply(old)
    np.testing.assert_array_equal(made.to_model().load(name), weight)
