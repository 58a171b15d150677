"""Tonin's study: quantizers that are the source's, all weights rounded, settings reported on other images."""

from __future__ import annotations

import math
from dataclasses import replace
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
from enxuto.report.figures.tonin import draw_networks
from enxuto.studies.curve.prepared import ChoosingSplit
from enxuto.studies.curve.tables import Curve
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
from enxuto.studies.tonin.side_tables import minifloat_table
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


ROOT = Path(__file__).parent.parent.parent
SHARED = ROOT.parent / "shared"


def test_the_file_of_the_published_run_is_read_and_names_what_there_is() -> None:
    """`benchmarks/tonin.toml`, of which `docs/results/tonin.md` has the tables."""
    config = read_config(ROOT / "benchmarks" / "tonin.toml")
    assert [entry.name for entry in config.networks] == ["ResNet-20", "ResNet-56", "SqueezeNet 1.1"]
    for entry in config.networks:
        assert config.settings(entry)
        assert entry.data in config.data
        config.preprocessing(entry.preprocess)
        paths = [config.data[entry.data].path, entry.model]
        paths += [config.data[entry.calibration].path] if entry.calibration else []
        for path in paths:
            place = (config.folder / path).resolve()
            assert place.is_relative_to(SHARED.resolve()), path
            assert place.is_file() or not SHARED.exists(), path


def test_the_file_of_the_how_to_page_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "repeat-tonin.md").read_text()
    (tmp_path / "studies.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    config = read_config(tmp_path / "studies.toml")
    assert [entry.model for entry in config.networks] == ["resnet20.onnx", "squeezenet1.1.onnx"]
    assert [config.preprocessing(entry.preprocess).channels for entry in config.networks] == ["RGB", "BGR"]


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


def curve(rows: list[tuple[str, int, float, float, float]]) -> Curve:
    """Rows of (method, i, entropy, top-1, top-5) beside an original of 0.8 and 0.95."""
    shared = {"samples": 500, "seed": 0, "file_bytes": 100, "weights": 1000, "file_bits": 0.8}
    original = {**shared, "top1": 0.8, "top5": 0.95, "entropy_bits": 20.0}
    made = [
        {**shared, "method": m, "i": i, "setting": f"{m}, {i}", "entropy_bits": e, "top1": a, "top5": b}
        for m, i, e, a, b in rows
    ]
    return Curve("net", original, tuple(made), "feed")


def test_the_best_is_within_the_loss_of_both_top_1_and_top_5() -> None:
    found = curve([
        ("midtread", 5, 2.0, 0.80, 0.93), ("midtread", 6, 3.0, 0.793, 0.943), ("midtread", 7, 4.0, 0.80, 0.95),
    ])  # fmt: skip
    (best,) = best_settings(found, 0.8, "image")
    assert best["i"] == 6  # 5 loses two points of top-5
    (best,) = best_settings(found, 0.8, "age")
    assert best["i"] == 5  # faces are judged by accuracy alone
    assert best_settings(found, 0.0, "image")[0]["i"] == 7
    assert best_settings(curve([("midtread", 5, 2.0, 0.7, 0.9)]), 0.8, "image") == []


@pytest.mark.parametrize(
    ("change", "means"),
    [
        ({}, ("(+0.500)", "16.00")),
        ({"top5": None}, ("–", "16.00")),
        ({"entropy_bits": 0.0}, ("(+0.500)", "–")),
    ],
)
def test_means_are_left_out_where_a_network_has_no_number(
    change: dict[str, Any], means: tuple[str, str]
) -> None:
    """One without top-5 counted as one that loses nothing; one of zeros alone ended in a division by 0."""
    none = {"weights": 0, "names": []}
    networks = []
    for number in range(2):
        made = curve([("midtread", 5, 2.0, 0.80, 0.945)])
        row = {**made.rows[0], "exact": none, "left": none, **(change if number else {})}
        rows = ({name: value for name, value in row.items() if value is not None},)
        networks.append(
            NetworkResults(f"net {number}", "image", None, replace(made, rows=rows), None, 0.8, None)
        )
    (table,) = (one for one in tables(networks) if one.title.startswith("Table 3.10"))
    (mean,) = (row for row in table.rows if row[0] == "mean of 2")
    assert (mean[2], mean[3], mean[5]) == ("(+0.000)", *means)


def test_every_name_of_a_tensor_stored_exactly_is_listed_once_for_all_settings_that_have_it() -> None:
    many = {"weights": 160, "names": [f"layer{n}.bias" for n in range(20)]}
    made = curve([("midtread", 5, 2.0, 0.8, 0.95), ("enxuto", 32, 3.0, 0.8, 0.95)])
    none = {"weights": 0, "names": []}
    rows = tuple(
        {**row, "exact": many if row["method"] == "midtread" else none, "left": none} for row in made.rows
    )
    others = [{**row, "exact": many} for row in rows]
    for rows_of, settings in ((rows, "midtread, 5"), (tuple(others), "midtread, 5; enxuto, 32")):
        one = NetworkResults("net", "image", None, replace(made, rows=rows_of), None, 0.8, None)
        (names,) = (table for table in tables([one]) if table.title.startswith("Tensors that"))
        assert names.rows == (("net", settings, "rounded", ", ".join(many["names"])),)


def test_means_of_faces_and_of_all_networks_stand_beside_the_published_ones() -> None:
    def network(name: str, use: str, entropy: float, recall: tuple[float, float]) -> NetworkResults:
        by_class = dict.fromkeys(("recall", "precision", "f1"), recall) if use == "gender" else {}
        after = {key: [value - 0.1 for value in values] for key, values in by_class.items()}
        made = curve([("midtread", 5, entropy, 0.8, 0.95)])
        row = {**made.rows[0], "by_class": after}
        original = {**made.original, "by_class": by_class, "entropy_bits": 10 * entropy, "labels": ["m", "f"]}
        return NetworkResults(name, use, None, replace(made, original=original, rows=(row,)), None, 0.8, None)

    faces = [network("a", "gender", 2.0, (0.8, 0.6)), network("b", "gender", 4.0, (0.6, 0.8))]
    found = {
        one.title.split(":")[0]: one.rows for one in tables([*faces, network("c", "image", 1.5, (0, 0))])
    }
    assert found["Table 3.7"][2] == ("mean of 2", "30.000", "80.000", *["0.700 / 0.700"] * 3)
    assert found["Table 3.7"][-1] == ("published: mean of 2", "22.449", "68.784", "–", "–", "–")
    assert found["Table 3.8"][1] == ("mean of 1", "15.000", "80.000", "95.000")
    assert found["Table 3.8"][2] == ("mean of all 3", "25.000", "–", "–")
    assert found["Table 3.8"][-2:] == (
        ("published: mean of 8", "23.007", "64.766", "85.148"),
        ("published: mean of all 10", "22.896", "–", "–"),
    )
    mean = found["Table 3.9"][2]
    assert mean[:4] == ("mean of 2", "the source's quantizers", "(+0.000)", "(+0.100) / (+0.100)")
    assert mean[6:9] == ("3.000", "12.00", "0.906")
    assert found["Table 3.10"][2][:5] == ("mean of all 3", "the source's quantizers", "–", "–", "2.500")
    assert found["Table 3.10"][-1][:5] == ("published: mean of all 10", "", "–", "–", "4.728")
    other = replace(faces[1], choosing=replace(faces[1].choosing, original={
        **faces[1].choosing.original, "labels": ["x", "y"],
    }))  # fmt: skip
    rows = next(one.rows for one in tables([faces[0], other]) if one.title.startswith("Table 3.7"))
    assert rows[2][3:] == ("–", "–", "–"), "other classes have no mean"


def test_networks_whose_names_make_one_file_name_have_pictures_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        "enxuto.report.figures.tonin.draw_curve",
        lambda curve, folder, ending: drawn.append(curve.model) or [],
    )
    made = curve([("midtread", 5, 2.0, 0.8, 0.95)])
    names = ("a/b", "a b", "A b", "../")
    draw_networks(
        [NetworkResults(name, "image", None, made, None, 0.8, None) for name in names], tmp_path, ".png"
    )
    assert len({name.lower() for name in drawn}) == 4
    assert not any(set(name) & set("/ ") for name in drawn)


def test_minifloats_that_leave_chance_are_marked_and_counted() -> None:
    shared = {"samples": 500, "seed": 0, "entropy_bits": 2.0, "format": (4, 3), "i": 8, "setting": "x"}
    rows = (
        {**shared, "method": "minifloat", "top1": 0.1, "better_than_chance": False},
        {**shared, "method": FIT, "top1": 0.7, "better_than_chance": True},
    )
    original = {"samples": 500, "seed": 0, "top1": 0.8}
    found = Curve("net", original, rows, "feed")
    table = minifloat_table(NetworkResults("net", "image", None, found, None, 0.8, None))
    assert table.rows == (("8", "4, 3", "10.00° (2.00)", "–", "70.00 (2.00)", "–"),)
    assert "1 of 1 as printed, 0 of 1 with a scale" in table.caption


CONFIGS = {
    "no networks": ("levels = [4, 5]\n", "networks"),
    "unknown setting": ('level = 4\n[[networks]]\nmodel = "a"\ndata = "b"\n', "level"),
    "unknown of a network": ('[[networks]]\nmodel = "a"\ndata = "b"\nlabel = "x"\n', "label"),
    "unknown of data": (
        '[data.a]\npath = "x"\nlimits = 3\n[[networks]]\nmodel = "a"\ndata = "a"\n',
        "limits",
    ),
    "unknown method": (
        'methods = ["mid"]\n[[networks]]\nmodel = "a"\ndata = "b"\n',
        "no method is called 'mid'",
    ),
    "levels": ('levels = [9, 4]\n[[networks]]\nmodel = "a"\ndata = "b"\n', "levels are the least"),
    "published": ('[[networks]]\nmodel = "a"\ndata = "b"\npublished = "vgg16"\n', "published is 'vgg16'"),
    "share": ('choosing = 1.0\n[[networks]]\nmodel = "a"\ndata = "b"\n', "choosing"),
    "folder": ('folder = "x"\n[[networks]]\nmodel = "a"\ndata = "b"\n', "folder"),
    "one image": ('images = 1\n[[networks]]\nmodel = "a"\ndata = "b"\n', "2 or more"),
    "text": ("networks = 3\n", "networks"),
    "empty list": ('[[networks]]\nmodel = []\ndata = "b"\n', "model"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_wrong_files_are_one_line(case: str, tmp_path: Path) -> None:
    text, says = CONFIGS[case]
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        read_config(tmp_path / "study.toml")
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path / "study.toml") in str(caught.value)


def test_lists_make_the_product_with_names_that_differ(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        f'bits = []\nmethods = ["midtread"]\nlevels = [5, 5]\n[data.few]\npath = "{TEST_IMAGES}"\nlimit = 30\n'
        f'[data.more]\npath = "{TEST_IMAGES}"\nlimit = 40\n[preprocess.grey]\nchannels = "L"\n'
        f'[[networks]]\nmodel = "{MODEL}"\ndata = ["few", "more"]\npreprocess = ["grey"]\npublished = "vgg"\n'
        f'[[networks]]\nmodel = "{MODEL}"\ndata = "few"\nname = "mine"\n'
    )
    networks = open_networks(read_config(tmp_path / "study.toml"))
    assert len({one.name for one in networks}) == 3
    assert [len(one.hashes) for one in networks] == [3, 3, 3]
    assert networks[0].hashes["all"] != networks[1].hashes["all"]
    assert networks[0].hashes["choosing"] != networks[0].hashes["reporting"]
    points = choosing_points(read_config(tmp_path / "study.toml"), networks[0])
    assert [point.settings["compress"]["method"] for point in points] == ["original", "midtread", "enxuto"]
    assert points[0].paths["published"] == "vgg"


@pytest.mark.parametrize(
    ("folds", "asked", "split"), [(5, "", "all"), (5, 'split = "fold_1"', "fold_1"), (4, "", None)]
)
def test_all_folds_of_adience_are_one_set_where_none_is_named(
    tmp_path: Path, folds: int, asked: str, split: str | None
) -> None:
    """As the source has it, and as nothing is trained."""
    (tmp_path / "faces").mkdir()
    for number in range(folds):
        (tmp_path / "faces" / f"fold_{number}_data.txt").touch()
    place = tmp_path / "study.toml"
    place.write_text(
        f'[[networks]]\nmodel = "m.onnx"\ndata = ["faces", "named"]\n[data.named]\npath = "faces"\n{asked}\n'
    )
    config = read_config(place)
    assert config.data_set("named").opening()["split"] == split
    assert config.data_set("faces").split == ("all" if folds == 5 else None)
