"""The TOML file of a study of Tonin's kind: what is read, refused, and made of lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import UsageError
from enxuto.studies.tonin.config import read_config
from enxuto.studies.tonin.points import choosing_points, open_networks

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
    "levels of one number": (
        'levels = [4]\n[[networks]]\nmodel = "a"\ndata = "b"\n',
        r"toml: levels: two whole numbers",
    ),
    "levels of a network": (
        '[[networks]]\nmodel = "a"\ndata = "b"\nlevels = "4"\n',
        r"networks.0.levels: two whole",
    ),
    "nothing of a network": ('[[networks]]\nmodel = "a"\n', r"networks.0.data: is needed"),
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


def test_networks_of_one_name_are_told_apart_by_their_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(MODEL.read_bytes())
    (tmp_path / "study.toml").write_text(
        f'bits = []\nmethods = ["midtread"]\nlevels = [5, 5]\n[data.few]\npath = "{TEST_IMAGES}"\nlimit = 30\n'
        '[[networks]]\nmodel = ["b.onnx", "a.onnx"]\ndata = "few"\nname = "mine"\n'
    )
    networks = open_networks(read_config(tmp_path / "study.toml"))
    assert [one.name for one in networks] == ["mine, b.onnx", "mine, a.onnx"]


@pytest.mark.parametrize(
    ("tables", "network", "says"),
    [
        ("[preprocess.plain]\ndivide_by = 255.0\n", 'preprocess = "plan"', "did you mean 'plain'"),
        ("[preprocess.plain]\ndivide_by = 'x'\n", 'preprocess = "plain"', r"\[preprocess.plain\]"),
        ("", 'data = "fwe"', "did you mean 'few'"),
    ],
)
def test_names_that_a_file_lacks_are_told_with_those_it_has(
    tables: str, network: str, says: str, tmp_path: Path
) -> None:
    data = "" if network.startswith("data") else 'data = "few"\n'
    (tmp_path / "study.toml").write_text(
        f'[data.few]\npath = "{TEST_IMAGES}"\n{tables}[[networks]]\nmodel = "{MODEL}"\n{data}{network}\n'
    )
    with pytest.raises(UsageError, match=says):
        open_networks(read_config(tmp_path / "study.toml"))


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
