"""Tables of a study of Tonin's kind: best settings, means, tensors stored exactly, and pictures of each network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enxuto.report.figures.tonin import draw_networks
from enxuto.studies.curve.tables import Curve
from enxuto.studies.tonin.quantizers import FIT
from enxuto.studies.tonin.results import NetworkResults, best_settings
from enxuto.studies.tonin.side_tables import minifloat_table
from enxuto.studies.tonin.tables import tables


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
