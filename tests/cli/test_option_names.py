"""Arguments that messages of the library name become options of the verb that runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from enxuto.cli import app
from enxuto.cli.compress import run as compress
from enxuto.cli.export import run as export
from enxuto.cli.shared.option_names import name_options
from enxuto.cli.shared.options import expand_options
from enxuto.cli.summary import run as summary
from enxuto.demo import MODEL


def named_for(message: str, verb: Callable[..., None]) -> str:
    """The message as the verb shows it, with its options as the command line has them."""
    return name_options(message, expand_options(verb, lambda values: nullcontext()))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("bound max_kl= or min_agreement=", "bound --max-kl or --min-agreement"),
        ("keep_exact=, names=", "--keep-exact, --labels"),
        ("more roles= would", "more --quantize-roles would"),
        ("range= is one", "--range is one"),
        ("max_judge_drop= is one too", "--max-judge-drop is one too"),
        ("predict= is no option", "predict= is no option"),
        ("not 'bits=3', x.bits=3", "not 'bits=3', x.bits=3"),
        ("set lr=0.05", "set lr=0.05"),
        ("--set epochs=… say the same as epochs=", "--set epochs=… say the same as --epochs"),
        ("in runs/seed=3, seed=3", "in runs/seed=3, --seed 3"),
        ("seed=1: enxuto export a --option seed=1", "--seed 1: enxuto export a --option seed=1"),
        ("outputs={'y': 'values'} says", "--outputs y=values says"),
        ("outputs={\"it's\": 'classes:2'}", "--outputs 'it'\"'\"'s=classes:2'"),
        ("outputs={'a b': 'ignore'}, seed=3", "--outputs 'a b=ignore', --seed 3"),
        ("outputs={y} or outputs={'y': 1}", "--outputs{y} or --outputs{'y': 1}"),
        ("call `enxuto curve seed=1 -o seed=2`, seed=3", "call `enxuto curve seed=1 -o seed=2`, --seed 3"),
    ],
)
def test_arguments_become_options(message: str, expected: str) -> None:
    assert named_for(message, compress) == expected


def test_values_and_flags() -> None:
    assert named_for("give input_shape=C,H,W", summary) == "give --input-shape C,H,W"
    assert named_for("give shape=C,H,W", summary) == "give --input-shape C,H,W"
    assert named_for("(check=False writes it)", export) == "(--no-check writes it)"


def test_an_error_of_the_library_names_the_option(tmp_path: Path) -> None:
    arguments = ["compress", str(MODEL), "-o", str(tmp_path / "a.enx"), "--data", "x", "--max-kl", "-1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--max-kl is a positive number" in result.stderr
