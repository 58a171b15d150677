"""Slimming: pruned and compressed within one bound, measured on images that chose nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

import enxuto
from enxuto.cli import app
from enxuto.compression.judge import Bounds
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import BudgetError, UsageError
from enxuto.onnx_model import Model, channels_first, channels_last
from enxuto.opening import load_with_metadata
from enxuto.report import read_results
from enxuto.runtime import Runner
from enxuto.slimming.aims import Aim, parse_aim
from enxuto.slimming.measuring import median_interval
from enxuto.slimming.networks import PruningWork
from enxuto.slimming.search import SlimSearch
from enxuto.studies.pruning import StartingNetwork
from enxuto.train import TrainingData


@pytest.fixture(scope="module")
def slimmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], str]:
    """The folder, what was printed, and what was said; images have the labels of the packaged set."""
    folder = tmp_path_factory.mktemp("slim")
    patch = pytest.MonkeyPatch()
    patch.setenv("ENXUTO_CACHE", str(folder / "cache"))
    result = CliRunner().invoke(app, words(folder / "out"))
    patch.undo()
    assert result.exit_code == 0, result.output
    return folder / "out", json.loads(result.stdout), result.stderr


def words(folder: Path) -> list[str]:
    return ["slim", str(MODEL), "--data", str(TEST_IMAGES), "--max-drop", "4", "--macs", "60%", "--images", "64",
            "--threads", "1", "--json", "-o", str(folder)]  # fmt: skip


def test_the_file_takes_the_originals_place(slimmed: tuple[Path, dict[str, object], str]) -> None:
    folder, _, _ = slimmed
    original, small = Model.read(MODEL), enxuto.load(folder / "model.enx")
    for kind in ("input", "output"):
        names = [[item.name for item in getattr(model.proto.graph, kind)] for model in (original, small)]
        assert names[0] == names[1]
    x = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    assert Runner(small).scores(x).shape == Runner(original).scores(x).shape
    counts = [
        sum(np.prod(t.dims) for t in onnx.load(path).graph.initializer)
        for path in (MODEL, folder / "pruned.onnx")
    ]
    assert counts[1] < 0.8 * counts[0]


def test_the_table_is_of_held_out_images(slimmed: tuple[Path, dict[str, object], str]) -> None:
    folder, said, stderr = slimmed
    rows = said["slim"]
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == ["original", "pruned", ".enx"]
    assert rows[2]["bytes"] == (folder / "model.enx").stat().st_size
    assert rows[1]["macs"] == rows[2]["macs"] == pytest.approx(0.6 * rows[0]["macs"], rel=0.1)
    assert rows[2]["answers"]["samples"] == said["samples"]["reporting"]  # type: ignore[index]
    assert len(set(said["data"].values())) == 3  # type: ignore[attr-defined]
    assert "of the multiplications" in stderr
    page = (folder / "report.html").read_text()
    assert f"{rows[2]['bytes']:,}" in page


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("violation", "Nothing that was tried keeps the bound: 3 points are lost"),
        ("missed", "On these images the bound is not kept: 3 points are lost"),
    ],
)
def test_a_page_says_where_the_bound_is_not_kept(
    slimmed: tuple[Path, dict[str, object], str], tmp_path: Path, key: str, says: str
) -> None:
    folder, _, _ = slimmed
    values = json.loads((folder / "slim.json").read_text()) | {"violation": None, "missed": None}
    for written, shown in ((values, False), ({**values, key: "3 points are lost"}, True)):
        path = tmp_path / "slim.json"
        path.write_text(json.dumps(written))
        (exhibit,) = read_results([path]).exhibits
        assert (says in (exhibit.tables[0].caption or "")) == shown


def test_what_pruning_alone_breaks_is_said(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="by pruning alone") as caught:
        enxuto.slim(
            MODEL, data=TEST_IMAGES, max_kl=1e-9, macs="30%", images=32, folder=tmp_path / "work", threads=1
        )
    found = caught.value.result
    assert isinstance(found, enxuto.SlimResult)
    assert found.save(tmp_path / "nearest.enx") == found.rows[2].bytes


@pytest.mark.parametrize(
    ("bounds", "trained", "taken"),
    [
        (Bounds(max_kl=0.1), {"kl": 0.2, "agreement": 99.0}, "refitted"),
        (Bounds(max_kl=0.1), {"kl": 0.04, "agreement": 80.0}, "distilled"),
        (Bounds(min_agreement=95), {"kl": 0.2, "agreement": 99.0}, "distilled"),
        (Bounds(min_agreement=95), {"kl": 0.05, "agreement": 96.0}, "refitted"),
    ],
)
def test_a_network_is_distilled_only_where_that_loses_less(
    bounds: Bounds, trained: dict[str, float], taken: str
) -> None:
    losses = {"refitted": {"kl": 0.05, "agreement": 96.0}, "distilled": trained}
    work: Any = SimpleNamespace(
        distils=True, make=lambda share, distilled: ("distilled" if distilled else "refitted", share)
    )
    judge: Any = SimpleNamespace(of_model=lambda model: SimpleNamespace(**losses[model]))
    nothing: Any = None
    remarks: list[str] = []
    search = SlimSearch(work, bounds, nothing, nothing, {})
    model, share, judged = search._pruned(0.5, judge, remarks)
    assert (model, share, vars(judged)) == (taken, 0.5, losses[taken])
    assert len(remarks) == (taken == "refitted")


def test_a_softmax_comes_back(tmp_path: Path, with_softmax: Callable[[Path], Path]) -> None:
    from enxuto.slimming.networks import as_onnx

    model = Model.read(with_softmax(tmp_path / "softmax.onnx"))
    start = StartingNetwork.of_model(model, {}, "digits")
    made = as_onnx(start.network, start, model)
    x = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
    np.testing.assert_allclose(Runner(made).scores(x), Runner(model).scores(x), atol=1e-5)
    assert made.proto.graph.output[0].name == model.proto.graph.output[0].name


@pytest.fixture
def with_softmax() -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        proto = onnx.load(MODEL)
        logits = proto.graph.output[0].name
        proto.graph.node.append(onnx.helper.make_node("Softmax", [logits], ["odds"], axis=1))
        proto.graph.output[0].name = "odds"
        onnx.save(proto, path)
        return path

    return make


def test_channels_last_and_names_taken_by_values_inside(tmp_path: Path) -> None:
    """As converters from TensorFlow write networks; the export calls its own input `input`."""
    from enxuto.slimming.networks import as_onnx

    model = channels_last(Model.read(MODEL))
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:
        for values in (node.input, node.output):
            values[:] = ["input" if name == proto.graph.input[0].name else name for name in values]
    proto.graph.input[0].name = "input"
    renamed = model.with_proto(proto)
    start = StartingNetwork.of_model(renamed, {}, "digits")
    assert start.architecture.input_shape == (1, 8, 8)
    made = as_onnx(start.network, start, renamed)
    x = np.random.default_rng(0).random((2, 8, 8, 1), dtype=np.float32)
    np.testing.assert_allclose(Runner(made).scores(x), Runner(renamed).scores(x), atol=1e-5)
    plain = Runner(Model.read(MODEL)).scores(x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(Runner(renamed).scores(x), plain, atol=1e-6)
    np.testing.assert_allclose(
        Runner(channels_first(renamed)).scores(x.transpose(0, 3, 1, 2)), plain, atol=1e-6
    )


def test_aims() -> None:
    assert parse_aim("50%", None) == parse_aim(0.5, None) == Aim(macs=0.5)
    assert parse_aim(None, "30%").shares == ()
    assert parse_aim(None, None).shares[0] == 1.0
    for macs, latency in (("50%", "50%"), ("x", None), (0, None), ("150%", None), (float("nan"), None)):
        with pytest.raises(UsageError):
            parse_aim(macs, latency)


@pytest.mark.parametrize(("count", "ends"), [(5, (0, 4)), (6, (0, 5)), (17, (4, 12)), (30, (9, 20))])
def test_the_interval_of_a_median_is_by_rank(count: int, ends: tuple[int, int]) -> None:
    """Ranks as tables of the sign test have them (scipy.stats.binom.ppf(0.025, n, 0.5))."""
    assert median_interval(list(range(count))[::-1]) == ends


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "needs a bound"),
        ({"max_kl": 0.1, "macs": 0.5, "target_latency": 0.5}, "give one"),
        ({"max_kl": 0.1, "minutes": -1}, "positive"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, float], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        enxuto.slim(MODEL, data=TEST_IMAGES, **given)  # type: ignore[arg-type]


def share_by_timing(
    monkeypatch: pytest.MonkeyPatch, wanted: float, takes: Callable[[float], float]
) -> tuple[float, list[float], list[str]]:
    """The share found where a network's time is a function of its share: that, all times, remarks."""
    from enxuto.slimming import search

    timed: list[float] = []

    class Work:
        model = None
        multiple = 8

        def plan(self, share: float) -> tuple[float, float]:
            return max(share, 0.3), max(share, 0.3)  # the rest must stay

        def untrained(self, kept: float) -> float:
            return kept

    def latency_share(model: float, original: None, *, threads: int) -> float:
        assert threads == 1  # as the table's latencies
        timed.append(takes(model))
        return timed[-1]

    monkeypatch.setattr(search, "latency_share", latency_share)
    finder = search.SlimSearch(Work(), Bounds(max_kl=1), None, None, {}, threads=2)  # type: ignore[arg-type]
    remarks: list[str] = []
    return finder._share_of_latency(wanted, remarks), timed, remarks


@pytest.mark.parametrize(
    ("fixed", "wanted", "share"),
    [(0.0, 0.5, 0.5), (0.2, 0.6, 0.5), (0.5, 0.7, 0.4), (0.9, 0.5, None), (0.4, 0.45, None)],
)
def test_a_share_of_the_latency_is_found_by_timing(
    monkeypatch: pytest.MonkeyPatch, fixed: float, wanted: float, share: float | None
) -> None:
    """Of a network whose latency is a fixed part, and one in proportion to its multiplications."""
    found, timed, remarks = share_by_timing(monkeypatch, wanted, lambda kept: fixed + (1 - fixed) * kept)
    assert len(timed) <= 5
    if share is None:
        assert "no pruned network" in remarks[0]
        assert "the smallest tried has 30 % of the multiplications" in remarks[0]
    else:
        assert not remarks
        assert share - 0.1 <= found <= share + 1e-9


@pytest.mark.parametrize("wanted", [0.8, 0.75])
def test_stairs_of_time_are_no_reason_to_prune_far_more(
    monkeypatch: pytest.MonkeyPatch, wanted: float
) -> None:
    """A depthwise network's time hardly falls at first: a line through its first timing points far too low."""

    def takes(share: float) -> float:
        return next(
            time for least, time in ((0.78, 0.95), (0.66, 0.83), (0.5, 0.74), (0, 0.7)) if share >= least
        )

    found, timed, remarks = share_by_timing(monkeypatch, wanted, takes)
    assert 0.6 < found < 0.66
    assert takes(found) <= wanted
    assert len(timed) <= 8
    assert not remarks


@pytest.mark.parametrize(
    ("aim", "multiple", "widths"),
    [(Aim(), None, 4), (Aim(macs=0.5), None, 4), (Aim(latency=0.5), None, 8), (Aim(latency=0.5), 1, 1),
     (Aim(), 16, 16)],
)  # fmt: skip
def test_widths_suit_the_aim(tmp_path: Path, aim: Aim, multiple: int | None, widths: int) -> None:
    from enxuto.slimming.entry import SlimWork

    model = Model.read(MODEL)
    work = SlimWork(model, {}, Bounds(max_kl=1), aim, None, 8, tmp_path, multiple=multiple)
    assert work._widths == widths


def test_what_distillation_remarks_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes a remark of the result, as all that a reader must know."""
    model, metadata = load_with_metadata(MODEL)
    start = StartingNetwork.of_model(model, metadata, "digits")
    work = PruningWork(start, model, torch.zeros(2, 1, 8, 8), "hash", tmp_path)
    learning = TrainingData(
        torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), (0.5,), (0.5,), 10, "h"
    )
    done = SimpleNamespace(notes=("the run resumes elsewhere",))
    monkeypatch.setattr("enxuto.slimming.networks.distil", lambda *given, **named: done)
    for _ in range(2):
        work._distil(start.network, learning, tmp_path)
    assert work.notes == ["the run resumes elsewhere"]
