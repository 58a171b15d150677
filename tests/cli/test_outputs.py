"""Outputs of all verbs: the place is tried before any work, inputs stay, nothing is overwritten that nobody named."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
from typer.testing import Result

from enxuto.cli import app
from enxuto.cli.shared.outputs import FILES, FOLDERS
from enxuto.enx.file import CompressedModel
from enxuto.errors import UsageError
from enxuto.onnx_model import Model

Invoke = Callable[..., Result]
CONFORMANCE = Path(__file__).parent.parent / "conformance" / "sound"

# Every option of a verb that names something to write: verb → words, with OUT for the output. The inputs are not there:
# whoever works before looking at the output says something else.
FILE_OUTPUTS = {
    "compress": ("compress", "absent.onnx", "-o", "OUT"),
    "decompress": ("decompress", "absent.enx", "-o", "OUT"),
    "diff": ("diff", "absent.enx", "absent.onnx", "-o", "OUT"),
    "apply": ("apply", "absent.enx", "absent.enxd", "-o", "OUT"),
    "export": ("export", "squeezenet-dsc", "-o", "OUT", "--weights", "absent.pt"),
    "compare": ("compare", "absent.onnx", "absent.enx", "--data", "absent", "--sheet", "OUT"),
    "report": ("report", "absent.json", "-o", "OUT"),
    "show": ("show", "absent.onnx", "-o", "OUT"),
    "zoo": ("zoo", "--chart", "OUT"),
}
FOLDER_OUTPUTS = {
    "train": ("train", "lenet-300-100", "--data", "absent", "--output", "OUT"),
    "prune": ("prune", "lenet-300-100", "--data", "absent", "--output", "OUT", "--amount", "50"),
    "lottery": ("lottery", "lenet-300-100", "--data", "absent", "--output", "OUT"),
    "slim": ("slim", "absent.onnx", "--data", "absent", "--max-kl", "1", "--output", "OUT"),
    "curve": ("curve", "absent.onnx", "--data", "absent", "--output", "OUT"),
    "study": ("study", "souza", "--data", "absent", "--output", "OUT"),
    "weights": ("weights", "absent.onnx", "--output", "OUT"),
    "report, tables": ("report", "absent.json", "-o", "page.html", "--tables", "OUT"),
    "report, charts": ("report", "absent.json", "-o", "page.html", "--charts", "OUT"),
    "fetch": ("fetch", "mnist", "-o", "OUT"),
    "demo": ("demo", "-o", "OUT"),
}
OUTPUTS = FILE_OUTPUTS | FOLDER_OUTPUTS
PLANTED = {
    "train": "labels.txt",
    "prune": "model.onnx",
    "lottery": "lottery.csv",
    "slim": "model.enx",
    "curve": "curve.csv",
    "study": "souza.md",
    "weights": "weights.csv",
    "demo": "digits.onnx",
}
STREAMED = ("compress", "decompress")


def words(which: str, output: object) -> list[str]:
    return [str(output) if word == "OUT" else word for word in OUTPUTS[which]]


def refused(result: Result) -> str:
    """The one line of a refusal."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "internal error" not in line
    return line


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def external(here: Path, digits: Path) -> Path:
    """The packaged network as `model.onnx` with its data in `model.onnx.data`, in the current folder."""
    onnx.save(
        onnx.load(str(digits)), "model.onnx", save_as_external_data=True, location="model.onnx.data",
        size_threshold=1024,
    )  # fmt: skip
    return here / "model.onnx"


def test_every_output_of_every_verb_is_listed_here() -> None:
    """Parameters that take a path are outputs that are guarded, or inputs."""
    inputs = {
        "source",
        "sources",
        "original",
        "first",
        "second",
        "data",
        "reference",
        "models",
        "config",
        "test",
    }
    inputs |= {"image", "weights", "labels", "results", "rewind_checkpoint", "merge", "model", "new", "patch"}
    found = set()
    for command in app.registered_commands:
        assert command.callback is not None
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items():
            if name in FILES + FOLDERS:
                found.add((command.name, name))
            else:
                assert "Path" not in str(parameter.annotation) or name in inputs, f"{command.name} {name}"
    listed = {which.split(",")[0] for which in OUTPUTS}
    assert {verb for verb, _ in found} == listed
    assert len(found) == len(OUTPUTS)


@pytest.mark.parametrize("which", OUTPUTS)
def test_a_place_that_cannot_be_written_is_said_before_any_work(
    which: str, invoke: Invoke, here: Path
) -> None:
    (here / "file").write_text("x")
    for output in ("file/below", "file/further/below"):
        into = "into " if which in FOLDER_OUTPUTS else ""
        assert f"cannot write {into}{output}: Not a directory" in refused(invoke(*words(which, output)))
    if which in FILE_OUTPUTS:
        assert "cannot write missing/file: No such file" in refused(invoke(*words(which, "missing/file")))
    assert [path.name for path in here.iterdir()] == ["file"]


@pytest.mark.parametrize("which", FILE_OUTPUTS)
def test_a_folder_is_no_file_to_write(which: str, invoke: Invoke, here: Path) -> None:
    (here / "folder").mkdir()
    for output in ("folder", "/dev/full"):
        assert "it is a folder or a device" in refused(invoke(*words(which, output)))


@pytest.mark.parametrize("which", OUTPUTS)
def test_a_dash_makes_no_file_named_so(which: str, invoke: Invoke, here: Path) -> None:
    result = invoke(*words(which, "-"))
    assert result.exit_code == 2
    if which not in STREAMED:
        assert "does not write to stdout" in refused(result)
    assert not list(here.iterdir())


# For each file that a verb writes: endings that are its own, and endings of other kinds.
KINDS = {
    "compress": ((".enx",), (".onnx", ".enxd", ".pt", ".tflite", ".json", ".npz", ".gz")),
    "decompress": ((".onnx",), (".enx", ".enxd", ".pth", ".png")),
    "diff": ((".enxd",), (".enx", ".onnx", ".zip")),
    "apply": ((".enx", ".onnx"), (".enxd", ".html")),
    "export": ((".onnx",), (".enx", ".pt", ".safetensors")),
    "compare": ((".png",), (".html", ".csv", ".enx")),
    "report": ((".html", ".htm"), (".pdf", ".json", ".enx", ".md")),
    "show": ((".html", ".png", ".svg"), (".onnx", ".pdf")),
    "zoo": ((".png", ".svg"), (".html", ".csv")),
}


# What verbs say that take no names but their own.
STRICT = {"show": "name a file that ends in .html, .png or .svg"}


@pytest.mark.parametrize("which", FILE_OUTPUTS)
def test_a_name_of_another_kind_of_file_is_refused(which: str, invoke: Invoke, here: Path) -> None:
    own, others = KINDS[which]
    for ending in [*others, others[0].upper()]:
        line = refused(invoke(*words(which, f"out{ending}")))
        if which in STRICT:
            assert STRICT[which] in line
            continue
        assert f"out{ending}: names of" in line
        assert f"name it {' or '.join(own)}" in line
    assert not list(here.iterdir())
    for ending in (".v2", *own) if which != "zoo" else ():
        assert "names of" not in invoke(*words(which, f"out{ending}")).stderr


def test_how_to_get_the_kind_that_was_named_is_said(invoke: Invoke, digits: Path, here: Path) -> None:
    assert "`enxuto decompress x.enx -o x.onnx` makes ONNX" in refused(
        invoke("compress", digits, "-o", "x.onnx")
    )
    (here / "small").mkdir()
    assert "`enxuto compress small/x.onnx -o small/x.enx`" in refused(
        invoke("decompress", digits, "-o", "small/x.enx")
    )


def test_in_python_names_of_other_kinds_are_refused_too(here: Path) -> None:
    """`save("model.onnx")` would write a file that no runtime opens."""
    compressed = CompressedModel.read(CONFORMANCE / "trellis-order0.enx")
    model = compressed.to_model()
    for write, name, right in (
        (compressed.save, "x.onnx", ".enx; write_onnx"),
        (compressed.save, "x.npz", ".enx"),
        (compressed.write_onnx, "x.enx", ".onnx; save"),
        (model.write, "x.enx", ".onnx; save"),
        (model.write, "x.pt", ".onnx"),
    ):
        with pytest.raises(
            UsageError, match=f"^{name}: names of .*; name it {right.replace('; ', ', and ')}"
        ):
            write(name)
    assert not list(here.iterdir())
    compressed.save("x")
    model.write("x.v2")


@pytest.mark.parametrize("which", FOLDER_OUTPUTS)
def test_a_folder_is_not_made_under_the_name_of_a_file(which: str, invoke: Invoke, here: Path) -> None:
    line = refused(invoke(*words(which, "out.enx")))
    assert "makes a folder; name a folder, such as out" in line
    assert not list(here.iterdir())


@pytest.mark.parametrize("how", ["itself", "dots", "link", "hard link", "data", "link to data"])
@pytest.mark.parametrize("verb", ["compress", "compare", "export", "report"])
def test_an_input_is_never_the_output(verb: str, how: str, invoke: Invoke, external: Path) -> None:
    data = external.with_name("model.onnx.data")
    output = Path({"itself": "model.onnx", "dots": "../here/model.onnx", "data": data.name}.get(how, "other"))
    if how == "hard link":
        os.link(external, output)
    elif "link" in how:
        output.symlink_to(data.name if "data" in how else external.name)
    before = {path.name: digest(path) for path in external.parent.iterdir()}
    said = {
        "compress": ("compress", "model.onnx", "-o", output),
        "compare": ("compare", "model.onnx", "model.onnx", "--data", "absent", "--sheet", output),
        "export": ("export", "squeezenet-dsc", "-o", output, "--weights", "model.onnx"),
        "report": ("report", "model.onnx", "-o", output),
    }[verb]
    assert "name another file" in refused(invoke(*said))
    assert {path.name: digest(path) for path in external.parent.iterdir()} == before


def test_an_enx_file_is_not_decompressed_over_itself(invoke: Invoke, digits: Path, here: Path) -> None:
    assert invoke("compress", digits, "-o", "m.enx", "--no-xz").exit_code == 0
    Path("link.onnx").symlink_to("m.enx")
    before = digest(Path("m.enx"))
    for output in ("m.enx", "./m.enx", "link.onnx"):
        assert "name another file" in refused(invoke("decompress", "m.enx", "-o", output))
    assert digest(Path("m.enx")) == before


@pytest.mark.parametrize("which", PLANTED)
def test_files_of_others_in_a_folder_stay(which: str, invoke: Invoke, here: Path) -> None:
    """`prune --output .` would write its model.onnx over the user's."""
    (here / "mine").mkdir()
    (here / "mine" / PLANTED[which]).write_text("of great value")
    line = refused(invoke(*words(which, "mine")))
    assert f"mine/{PLANTED[which]} would be overwritten" in line
    assert (here / "mine" / PLANTED[which]).read_text() == "of great value"
    assert len(list((here / "mine").iterdir())) == 1


def test_what_a_folder_verb_reads_stays(invoke: Invoke, here: Path) -> None:
    """A checkpoint in the folder of an earlier run, which the same command would write over at its end."""
    (here / "earlier").mkdir()
    for name in ("records.jsonl", "model.pt"):
        (here / "earlier" / name).write_text("of great value")
    line = refused(invoke(*words("prune", "earlier"), "--weights", "earlier/model.pt"))
    assert "earlier/model.pt is an input" in line
    assert line.endswith("[E014]")
    assert (here / "earlier" / "model.pt").read_text() == "of great value"


def test_what_a_verb_left_itself_is_written_again(invoke: Invoke, digits: Path, here: Path) -> None:
    for _ in range(2):
        assert invoke("weights", digits, "--output", "w").exit_code == 0
    assert (here / "w" / "weights.csv").exists()


def test_decompress_leaves_the_original(invoke: Invoke, external: Path) -> None:
    """Its weights were gone, and its data file too."""
    before = {name: digest(external.with_name(name)) for name in ("model.onnx", "model.onnx.data")}
    assert invoke("compress", "model.onnx", "--no-xz").exit_code == 0
    assert invoke("decompress", "model.enx").exit_code == 0
    names = sorted(path.name for path in external.parent.iterdir())
    assert names == ["model.enx", "model.onnx", "model.onnx.data", "model.restored.onnx"]
    assert {name: digest(external.with_name(name)) for name in before} == before
    assert onnxruntime.InferenceSession("model.restored.onnx").get_inputs()


@pytest.mark.parametrize("verb", ["compress", "decompress", "report"])
def test_a_default_name_that_is_there_needs_force(
    verb: str, invoke: Invoke, digits: Path, here: Path
) -> None:
    shutil.copy(digits, "digits.onnx")
    assert invoke("compress", "digits.onnx", "-o", "m.enx", "--no-xz").exit_code == 0
    Path("result.json").write_text("{}")
    said, default = {
        "compress": (("compress", "digits.onnx", "--no-xz"), "digits.enx"),
        "decompress": (("decompress", "m.enx"), "m.restored.onnx"),
        "report": (("report", "result.json"), "report.html"),
    }[verb]
    Path(default).write_text("of great value")
    line = refused(invoke(*said))
    assert f"{default} is there already (14 B of 2" in line
    assert "--force" in line
    assert Path(default).read_text() == "of great value"
    if verb != "report":  # what was named is written over without a word
        assert invoke(*said, "-o", default).exit_code == 0
        assert Path(default).stat().st_size > 1000
        Path(default).write_text("of great value")
        assert invoke(*said, "--force").exit_code == 0
        assert Path(default).stat().st_size > 1000


def test_data_of_another_model_stays_when_a_model_is_written_over(external: Path) -> None:
    """Two models with one data file: the writer cleaned up after the one that it replaced."""
    shutil.copy("model.onnx", "copy.onnx")
    wanted = {
        name: Model.read("copy.onnx").load(name).copy() for name in Model.read("copy.onnx").weight_names
    }
    Model.read("model.onnx").write("model.onnx")
    assert {name: a.tobytes() for name, a in wanted.items()} == {
        name: Model.read("copy.onnx").load(name).tobytes() for name in wanted
    }
    Path("copy.onnx").unlink()
    onnx.save(
        onnx.load("model.onnx"),
        "own.onnx",
        save_as_external_data=True,
        location="own.onnx.data",
        size_threshold=0,
    )
    Model.read("model.onnx").write("own.onnx")
    assert not Path("own.onnx.data").exists()


def test_both_ways_through_stdout(invoke: Invoke, digits: Path, here: Path) -> None:
    packed = invoke("compress", digits, "-o", "-", "--no-xz")
    assert packed.exit_code == 0
    Path("m.enx").write_bytes(packed.stdout_bytes)
    assert CompressedModel.read("m.enx").metadata["parameters"] > 0
    assert invoke("compress", digits, "-o", "n.enx", "--no-xz").exit_code == 0
    assert Path("n.enx").read_bytes() == packed.stdout_bytes
    restored = invoke("decompress", "m.enx", "-o", "-")
    assert invoke("decompress", "m.enx", "-o", "m.onnx").exit_code == 0
    assert restored.stdout_bytes == Path("m.onnx").read_bytes()
    assert sorted(path.name for path in here.iterdir()) == ["m.enx", "m.onnx", "n.enx"]
    for said in (("compress", digits), ("decompress", "m.enx")):
        assert "both write to stdout" in refused(invoke(*said, "-o", "-", "--json"))


@pytest.mark.parametrize("which", OUTPUTS)
def test_a_name_that_no_disk_takes_is_one_line(
    which: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even whether it is there cannot be asked: the system's error comes out of the question."""
    monkeypatch.chdir(tmp_path)
    assert "File name too long" in refused(invoke(*words(which, "x" * 300)))


@pytest.mark.parametrize("name", ["x" * 300, "locked/results"])
@pytest.mark.parametrize(
    "call",
    [
        ("report", "NAME", "-o", "page.html"),
        ("summary", "NAME.onnx"),
        ("export", "lenet5", "-o", "o.onnx", "--labels", "NAME"),
        ("export", "lenet5", "-o", "o.onnx", "--weights", "NAME"),
    ],
    ids=lambda call: " ".join(call[:-1]),
)
def test_inputs_that_the_system_says_nothing_of_are_one_line(
    call: tuple[str, ...], name: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name too long; a folder that may not be entered, as others' are in containers (root may enter all)."""
    monkeypatch.chdir(tmp_path)
    ask, locked = os.stat, str(Path("locked"))

    def stat(path: object, *more: object, **named: object) -> os.stat_result:
        if str(path).startswith(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return ask(path, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    line = refused(invoke(*(word.replace("NAME", name) for word in call)))
    assert "File name too long" in line or "Permission denied" in line
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_system_names_the_file(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes from: it is the place that is wrong, not enxuto."""

    def failing(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "/mnt/gone/a.enx")

    monkeypatch.setattr("enxuto.cli.inspect.is_enx", failing, raising=False)
    monkeypatch.setattr("enxuto.enx.signature.is_enx", failing)
    line = refused(invoke("inspect", "a.enx"))
    assert (
        line == "error: cannot use /mnt/gone/a.enx: Input/output error; check the path and its folder [E011]"
    )
