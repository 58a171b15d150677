"""Tonin's study: quantizers that are the source's, all weights rounded, settings reported on other images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.data import open_dataset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import UsageError
from enxuto.onnx_model import Model, Role
from enxuto.quantize.scalar import SOURCE_MINIFLOATS, DeadZone, Minifloat
from enxuto.studies.curve.prepared import ChoosingSplit
from enxuto.studies.tonin.a_law import ALaw
from enxuto.studies.tonin.config import read_config
from enxuto.studies.tonin.points import choosing_points, open_networks, reporting_points
from enxuto.studies.tonin.published import CORRECTIONS, FACES, FILES, LITERATURE, MEANS, original_shares
from enxuto.studies.tonin.quantizers import (
    BIAS,
    FIT,
    FIT_TENSOR,
    SOURCE_METHODS,
    make_quantizer,
    quantizer_settings,
)
from enxuto.studies.tonin.results import NetworkResults, best_settings, collect
from enxuto.studies.tonin.rounded import round_network
from enxuto.studies.tonin.staircases import staircases
from enxuto.studies.tonin.tables import tables
from enxuto.study import Serial, Study
from enxuto.weights.tonin_published import BEST


def test_published_numbers_agree_with_each_other() -> None:
    """Every loss is the difference of tables 3.7 and 3.8 to 3.9 and 3.10, and the means are those of section 4."""
    before = {
        "squeezenet": (53.77, 77.138), "shufflenet": (42.422, 68.134), "googlenet": (67.774, 88.34),
        "efficientnet": (77.734, 93.684), "caffenet": (56.264, 79.522), "mobilenet": (69.3, 88.934),
        "resnet": (77.214, 93.614), "vgg": (73.646, 91.816), "gendergooglenet": (82.379, None),
        "agegooglenet": (55.189, None),
    }  # fmt: skip
    for row in BEST:
        top1, top5 = original_shares(row)
        assert top1 == pytest.approx(before[row.key][0], abs=0.0011)
        assert (top5 is None) == (before[row.key][1] is None)
        assert top5 is None or top5 == pytest.approx(before[row.key][1], abs=1e-9)
        assert max(row.top1_lost, row.top5_lost or 0) <= 0.8  # within both
        assert 32 / row.entropy == pytest.approx(row.ratio, rel=0.005)
    assert MEANS["original entropy, all"] == pytest.approx(22.896, abs=5e-4)
    assert (round(MEANS["entropy, all"], 2), round(MEANS["entropy, images"], 2)) == (4.73, 5.62)
    assert MEANS["ratio, images"] == pytest.approx(8, abs=0.05)
    right = {(one.key, one.what): one.right for one in CORRECTIONS}
    assert right[("shufflenet", "top-5")] == "67.508"
    assert right[("efficientnet", "top-5 lost")] == "0.31"
    assert right[("caffenet", "top-1 lost")] == "0.764"
    assert right[("mobilenet", "top-5 lost")] == "0.008"
    assert right[("gendergooglenet", "F1")] == f"{FACES['gendergooglenet'].f1_after}" == "0.847"
    assert {row.key for row in BEST} <= {file.key for file in FILES}
    assert all(one.source and one.lost for one in LITERATURE)
    cited = (
        "Han",
        "Dong",
        "Li",
        "Zhao",
        "Serra",
        "Zhu",
        "Kim",
        "Faraone",
        "Seo",
        "Dupuis",
        "Haase",
        "MPEG-NNR",
    )
    assert tuple(dict.fromkeys(one.work.split()[0] for one in LITERATURE)) == cited
    assert [one.kept for one in LITERATURE if one.work.startswith("Li ")] == [87.5]  # "um corte de 12,5 %"


def test_a_law_is_g_711s_curve() -> None:
    """Against the formula as the standard has it, and back; finer for small weights than for large ones."""
    law, x = ALaw(256), np.linspace(-1.2, 1.2, 4801, dtype=np.float32)
    for value, level in zip(x[::97].tolist(), law.quantize(x[::97]).tolist(), strict=True):
        z, a = abs(value), 87.6
        curve = a * z / (1 + math.log(a)) if z < 1 / a else (1 + math.log(a * z)) / (1 + math.log(a))
        assert abs(level) == pytest.approx(128 * curve, abs=0.5001)
        assert level * value >= 0
    again = law.reconstruct(law.quantize(x))
    assert np.array_equal(law.reconstruct(law.quantize(again)), again)
    error = np.abs(again - x)
    assert error[np.abs(x) < 1 / 87.6].max() < 0.0005 < error.max() < 0.03
    assert law.reconstruct(law.quantize(np.zeros(1, np.float32)))[0] == 0
    for wrong in ({"levels": 1}, {"levels": 8, "a": 1.0}, {"levels": 8, "x_max": 0.0}):
        with pytest.raises(UsageError):
            ALaw(**wrong)


def test_minifloats_have_both_biases_of_table_2_5_and_scales() -> None:
    def positive(method: str, p: int, q: int) -> Any:
        settings = {"mode": "grid", "method": method, "i": 1 + p + q, "format": [p, q]}
        return make_quantizer(settings)(0.5, 2.0)

    assert positive("minifloat", 4, 3).values[0] == 2.0**-7  # bias 7, as the rule of the other rows gives
    assert positive(BIAS, 4, 3).values[0] == 2.0**-3  # bias 3, as it is printed
    assert positive(BIAS, 2, 2).values[0] == 1.0
    for p, q in SOURCE_MINIFLOATS:
        for method, largest in ((FIT, 2.0), (FIT_TENSOR, 0.5)):
            fitted = positive(method, p, q)
            assert largest <= fitted.values[-1] < 2 * largest
            assert math.log2(fitted.scale).is_integer()
    formats = {tuple(one["format"]) for one in quantizer_settings([BIAS])}
    assert formats == {(p, q) for p, q in SOURCE_MINIFLOATS if p >= 2}


def test_settings_are_of_every_method() -> None:
    settings = quantizer_settings(levels=range(5, 7))
    assert {one["method"] for one in settings} == set(SOURCE_METHODS)
    assert len(settings) == 8 * 2 + 3 * 12 + 8 + 1
    with pytest.raises(UsageError, match="no method is called 'midthread'"):
        quantizer_settings(["midthread"])


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "grid", "method": "midtread", "i": 6},
        {"mode": "grid", "method": "A-law", "i": 6},
        {"mode": "grid", "method": FIT_TENSOR, "i": 8, "format": [3, 4]},
    ],
    ids=lambda one: str(one["method"]),
)
def test_all_weights_are_rounded_and_what_is_stored_exactly_is_named(settings: dict[str, Any]) -> None:
    model = Model.read(MODEL)
    made = round_network(model, settings, 1)
    learned = [info for info in model.infos() if info.role is not Role.OTHER]
    largest = max(float(np.abs(model.load(info.name)).max()) for info in learned)
    levels = []
    for info in learned:
        weight = model.load(info.name)
        quantizer = make_quantizer(settings)(float(np.abs(weight).max()), largest)
        levels.append(quantizer.quantize(weight))
        assert np.array_equal(made.model.load(info.name), quantizer.reconstruct(levels[-1])), info.name
    small = {info.name for info in learned if info.elements < 32}
    assert small
    assert small <= set(made.values["exact"]["names"])
    assert made.values["exact"]["weights"] >= sum(i.elements for i in learned if i.name in small)
    assert made.values["quantized"] == sum(info.elements for info in learned)
    assert made.values["left"] == {"weights": 0, "names": []}
    if settings["method"] != FIT_TENSOR:
        counts = np.unique(np.concatenate([one.reshape(-1) for one in levels]), return_counts=True)[1]
        shares = counts / counts.sum()
        assert made.values["entropy_bits"] == pytest.approx(-np.sum(shares * np.log2(shares)))


def test_what_no_level_holds_is_left_and_named(tmp_path: Path) -> None:
    path = two_classes(tmp_path, bias=(3e6, 3e6))
    made = round_network(Model.read(path), {"mode": "grid", "method": "midtread", "i": 24}, 1)
    assert made.values["left"] == {"weights": 2, "names": ["bias"]}
    assert made.model.load("bias").tolist() == [3e6, 3e6]


def test_staircases_are_those_of_the_quantizers() -> None:
    found = staircases()
    assert set(found) == set(SOURCE_METHODS) - {FIT_TENSOR}
    dead = DeadZone(0.25, 0.7)
    for x, y in found["dead-zone 0.7"][1::2]:  # the left end of each jump
        assert y == float(dead.reconstruct(dead.quantize(np.array([x - 1e-3], np.float32)))[0])
    values = {abs(y) for _, y in found["minifloat"]}
    assert values <= set(Minifloat(2, 2).values.tolist())
    assert len(found["half"]) == 2  # a line at this scale
    at_zero = [x for x, y in found["midrise"] if y == 0]
    assert max(at_zero) - min(at_zero) < 0.001  # the weight 0 alone


def two_classes(folder: Path, bias: tuple[float, float] = (0.0, 0.0)) -> Path:
    """A network that tells light images from dark ones: logits of the mean."""
    weight = np.array([[-1.0 / 16, 1.0 / 16]] * 16, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "weight", "bias"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.float32(bias), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "gender.onnx")
    return folder / "gender.onnx"


def test_two_classes_have_recall_precision_and_f1_of_both(tmp_path: Path) -> None:
    two_classes(tmp_path)
    pixels = np.concatenate([np.full((20, 4, 4), 30, np.uint8), np.full((20, 4, 4), 220, np.uint8)])
    labels = np.array([0] * 20 + [1] * 20)
    labels[:4] = 1  # four of the light class look dark: recall of it 20 of 24, precision 1
    np.savez(tmp_path / "faces.npz", images=pixels, labels=labels, classes=["male", "female"])
    (tmp_path / "study.toml").write_text(
        'methods = ["midtread"]\nlevels = [8, 8]\nbits = []\nchoosing = 0\n[[networks]]\nmodel = "gender.onnx"\n'
        'data = "faces.npz"\npreprocess = "centred"\n[preprocess.centred]\nchannels = "L"\nmean = [0.5]\n'
    )
    found = run_study(tmp_path / "study.toml", tmp_path / "out")
    (one,) = found
    assert one.use == "gender"
    original = one.reported.original
    assert original["by_class"]["recall"] == pytest.approx([1, 20 / 24])
    assert original["by_class"]["precision"] == pytest.approx([16 / 20, 1])
    by_title = {table.title.split(":")[0]: table for table in tables(found)}
    first = by_title["Table 3.7"].rows[0]
    assert first[3:] == ("1.000 / 0.833", "0.800 / 1.000", "0.889 / 0.909")
    assert "of the classes male / female" in by_title["Table 3.7"].caption
    assert by_title["Table 3.9"].rows[0][:2] == ("gender", "midtread, 8")
    assert "chosen on these very images" in by_title["Table 3.9"].caption
    gender, age, both = by_title["Table 3.9"].rows[-3:]
    assert both[:3] == ("published: mean of 2", "", "(-0.576)")
    assert both[6:9] == ("1.155", "28.52", "0.964")
    assert gender[5] == "0.847* (+0.001)"
    assert (gender[6], age[2]) == ("1.351 (21.088*)", "55.802 (-0.613)")


def run_study(path: Path, folder: Path) -> list[NetworkResults]:
    """Both stages, in this process."""
    config = read_config(path)
    results = []
    for network in open_networks(config):
        points = choosing_points(config, network)
        first = Study(points, folder).run(Serial())
        assert first.exit_code == 0, first.failed
        (chosen,) = collect(first)
        best = {row["setting"] for row in best_settings(chosen.choosing, config.max_drop, network.use)}
        settings = [p.settings["compress"] for p in points[1:]]
        wanted = [
            one
            for one, point in zip(settings, points[1:], strict=True)
            if any(row["setting"] in best and row["method"] == one["method"] and row["i"] == one["i"]
                   for row in chosen.choosing.rows)
            and point.id
        ]  # fmt: skip
        second = Study(reporting_points(config, network, wanted), folder).run(Serial())
        assert second.exit_code == 0, second.failed
        results += [*first, *second]
    return collect(results)


def test_images_that_choose_report_nothing() -> None:
    data = open_dataset(TEST_IMAGES, limit=60, seed=3)
    first, second = (ChoosingSplit(part, 0.4, 1).select(data) for part in ("choosing", "reporting"))
    assert (len(first), len(second)) == (24, 36)
    assert not {first.name(i) for i in range(24)} & {second.name(i) for i in range(36)}
