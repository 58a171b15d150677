"""What the parser of the command line refuses, and files that are missing: one line with a code, and one wording."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import Result

Invoke = Callable[..., Result]

REFUSED = {
    "no such verb": (("comprss",), "there is no verb 'comprss' (did you mean 'compress'?)", "E021"),
    "no such option": (
        ("compress", "a.onnx", "--bitz", 3),
        "there is no option --bitz (did you mean '--bits'?)",
        "E021",
    ),
    "option of no verb": (("--debugg",), "there is no option --debugg (did you mean '--debug'?)", "E021"),
    "argument missing": (("compress",), "MODEL.onnx is missing", "E023"),
    "option missing": (("export", "lenet5"), "-o/--output is missing", "E023"),
    "value missing": (("compress", "a.onnx", "--bits"), "--bits needs a value", "E023"),
    "value of a flag": (("zoo", "--json=3"), "--json takes no value", "E020"),
    "value out of range": (("compress", "a.onnx", "--threads", -1), "--threads: ", "E020"),
    "value of another type": (("compress", "a.onnx", "--bits", "three"), "--bits: ", "E020"),
    "arguments too many": (("inspect", "a.enx", "b\x1b[31m.enx"), "b\\x1b[31m.enx", "E020"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_parser_refuses_is_one_line_with_a_code(kind: str, invoke: Invoke) -> None:
    words, said, code = REFUSED[kind]
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert result.stderr.endswith(f" [{code}]\n")
    assert result.stderr.count("\n") == 1
    verb = words[0] if len(words) > 1 or code == "E023" else ""
    assert f"`enxuto {verb} --help`".replace("  ", " ") in result.stderr


MISSING = {
    "model to compress": (("compress", "none"), "model file"),
    "model to decompress": (("decompress", "none"), ".enx file"),
    "file to inspect": (("inspect", "none.enx"), ".enx file"),
    "file to verify": (("verify", "none"), ".enx file"),
    "model to summarise": (("summary", "none.onnx"), "model file"),
    "data set": (("evaluate", "none.onnx", "--data", "none"), "data file or folder"),
    "image": (("classify", "NET", "none"), "image"),
    "preprocessing": (("classify", "NET", "NET", "--preprocess", "none.toml"), "TOML file"),
    "labels": (("export", "lenet5", "-o", "a.onnx", "--labels", "none"), "file of labels"),
    "checkpoint": (("export", "lenet5", "-o", "a.onnx", "--weights", "none"), "checkpoint"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_a_missing_file_is_said_in_the_same_words_everywhere(
    kind: str, invoke: Invoke, digits: object, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    words, noun = MISSING[kind]
    result = invoke(*(digits if word == "NET" else word for word in words))
    assert result.exit_code == 2
    name = next(word for word in reversed(words) if word.startswith("none"))
    assert result.stderr == f"error: {name} does not exist; check the name of the {noun} [E010]\n"


def test_arguments_are_checked_before_what_would_be_overwritten(
    invoke: Invoke, digits: object, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    copy = f"{tmp_path}/net.onnx"
    with open(str(digits), "rb") as source, open(copy, "wb") as target:
        target.write(source.read())
    assert invoke("compress", copy, "--no-xz").exit_code == 0
    assert "[E012]" in invoke("compress", copy).stderr
    wrong = (("--keep-exact", "none"), ("--quantize-roles", "none"), ("--rounding", "none"), ("--mean", "a"))
    for words in wrong:
        refused = invoke("compress", copy, *words)
        assert refused.exit_code == 2
        assert "[E012]" not in refused.stderr
