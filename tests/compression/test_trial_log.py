"""Searches that were interrupted: no price is tried twice, and the result is that of one that was not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from enxuto.compression.calibrated import compress_within
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.search import search
from enxuto.compression.split import split_images
from enxuto.compression.trial_log import TrialLog
from enxuto.data import Preprocess, open_dataset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.onnx_model import Model


class Files:
    """Makes files whose size and divergence follow from the price, until it is interrupted."""

    def __init__(self, most: int = 1000) -> None:
        self.made: list[float] = []
        self._most = most

    def make(self, price: float) -> Any:
        if len(self.made) == self._most:
            raise KeyboardInterrupt
        self.made.append(price)
        return SimpleNamespace(price=price, model=SimpleNamespace(file_bytes=round(10_000 * price**-0.3)))

    def judge(self, model: Any) -> Judgement:
        kl = self.made[-1] * 100
        return Judgement(50, 90.0, 1.5, (0.5, 2.5), 97.0, (95.0, 99.0), kl, "hash")


def found(files: Files, bounds: Bounds, log: TrialLog | None) -> Any:
    return search(
        cast(Any, files.make), bounds, 1e-4, judge=cast(Any, files.judge), weights=100_000, store=log
    )


@pytest.mark.parametrize("bounds", [Bounds(max_kl=0.03), Bounds(max_bytes=200_000)])
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_an_interrupted_search_goes_on(bounds: Bounds, after: int, tmp_path: Path) -> None:
    whole = Files()
    expected = found(whole, bounds, None)
    after = min(after, len(whole.made) - 1)
    broken = Files(after)
    with pytest.raises(KeyboardInterrupt):
        found(broken, bounds, TrialLog(tmp_path, "key"))
    rest = Files()
    result = found(rest, bounds, TrialLog(tmp_path, "key"))
    assert result.trials == expected.trials
    assert result.outcome.price == expected.outcome.price
    assert (result.fits, result.violation) == (expected.fits, expected.violation)
    # What is left to try, and perhaps the best one once more, whose file is wanted.
    assert len(rest.made) <= len(whole.made) - after + 1
    again = Files()
    assert found(again, bounds, TrialLog(tmp_path, "key")).trials == expected.trials
    assert again.made == [expected.outcome.price]


def test_another_bound_knows_the_prices_too(tmp_path: Path) -> None:
    found(Files(), Bounds(max_kl=0.03), TrialLog(tmp_path, "key"))
    files = Files()
    result = found(files, Bounds(max_kl=0.02), TrialLog(tmp_path, "key"))
    assert 1e-4 not in files.made
    assert result.trials[0].price == 1e-4
    # A trial for a size was not judged: it is tried again where answers are bounded.
    found(Files(), Bounds(max_bytes=200_000), TrialLog(tmp_path, "size"))
    files = Files()
    found(files, Bounds(max_kl=0.03), TrialLog(tmp_path, "size"))
    assert 1e-4 in files.made


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    log = TrialLog(tmp_path, "key", "judged by", {"a": 1})
    log.add(0.5, 10, None)
    log.add(0.25, 20, Files(1).judge.__func__(SimpleNamespace(made=[1.0]), None))  # type: ignore[attr-defined]
    kept = log.path.read_text()
    log.path.write_text("{}\n[1]\nnull\n\x00\n" + kept + '{"price": 0.125, "by')
    again = TrialLog(tmp_path, "key", "judged by", {"a": 1})
    assert again.get(0.5) == (10, None)
    judged = again.get(0.25)
    assert judged is not None
    assert judged == log.get(0.25)
    assert again.get(0.125) is None
    assert TrialLog(tmp_path, "key", "judged by", {"a": 2}).get(0.5) is None
    log.path.write_bytes(b"\xff\xfe\x00")
    assert TrialLog(tmp_path, "key", "judged by", {"a": 1}).get(0.5) is None


NO_JUDGEMENTS = [
    1, "x", [], {}, True, {"samples": 1}, {"kl": None}, {"samples": "many"}, {"drop_interval": [1]},
    {"drop_interval": [1, 2, 3]}, {"drop_interval": "ab"}, {"kl": float("nan")}, {"kl": "0"}, {"kl": True},
    {"top1": 1e999}, {"data_hash": 5}, {"data_hash": []}, {"unknown": 1}, {"samples": 1.5}, {"agreement": 10**400},
]  # fmt: skip


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    log = TrialLog(tmp_path, "key")
    judged = Files(1).judge.__func__(SimpleNamespace(made=[1.0]), None)  # type: ignore[attr-defined]
    log.add(0.5, 10, judged)
    good = json.loads(log.path.read_text())
    lines: list[Any] = [{**good, "judgement": wrong} for wrong in NO_JUDGEMENTS[:7]]
    lines += [
        {**good, "judgement": {**good["judgement"], **wrong}}
        for wrong in NO_JUDGEMENTS[7:]  # a divergence that is not known is kept as null
        if isinstance(wrong, dict)
    ]
    for key in ("price", "bytes"):
        lines += [{**good, key: wrong} for wrong in (None, "x", True, [], {}, -1, 0, 10**400, float("nan"))]
    lines += [{**good, "bytes": 1.5}, {**good, "price": float("inf")}]
    for line in lines:
        log.path.write_text(json.dumps(line) + "\n")
        again = TrialLog(tmp_path, "key")
        assert again._trials == {}, line
    log.path.write_text("[" * 100_000 + "\n" + json.dumps(good) + "\n")
    assert TrialLog(tmp_path, "key").get(0.5) == (10, judged)
    log.path.write_text(json.dumps({**good, "judgement": {**good["judgement"], "kl": None}}) + "\n")
    unknown = TrialLog(tmp_path, "key").get(0.5)
    assert unknown is not None
    assert unknown[1] is not None
    assert math.isnan(unknown[1].kl)
    log.path.unlink()
    log.path.mkdir()
    assert TrialLog(tmp_path, "key").get(0.5) is None


def test_where_nothing_can_be_written_the_search_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = TrialLog(tmp_path / "file" / "folder", "key")
    assert found(Files(), Bounds(max_kl=0.03), log).fits
    assert not log.path.exists()


def test_a_real_search_makes_its_file_again_and_nothing_else(tmp_path: Path) -> None:
    model = Model.read(MODEL)
    bounds = Bounds(max_kl=0.05)
    parts = split_images(open_dataset(TEST_IMAGES), None, bounds, 64, 0)
    results = []
    for _ in range(2):
        steps: list[str] = []
        within = compress_within(
            model, bounds, parts, Preprocess(channels="L"), threads=2, cache=tmp_path,
            progress=lambda what, done, of, steps=steps: steps.append(what) if done == of else None,
        )  # fmt: skip
        results.append(
            (within.outcome.model.to_bytes(), within.search.trials, within.held_out, steps.count("coding"))
        )
    assert results[0][:3] == results[1][:3]
    assert results[0][3] == len(results[0][1])
    assert results[1][3] == 1
    assert np.isfinite(results[0][2].kl)


def test_judgements_on_images_without_labels_are_kept(tmp_path: Path) -> None:
    judged = Judgement(5, None, None, None, 80.0, (60.0, 90.0), 0.1, "abc")
    TrialLog(tmp_path, "key").add(1.0, 100, judged)
    assert TrialLog(tmp_path, "key").get(1.0) == (100, judged)
