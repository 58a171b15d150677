"""Options are written once: dataclasses become options, lists are given one way, and data is opened alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from enxuto.cli import app
from enxuto.cli.shared.options import expand_options
from enxuto.errors import UsageError

DATA = {"--format", "--split", "--limit", "--image-column", "--label-column", "--labels", "--seed"}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Options of a verb."""

    batch: Annotated[tuple[int, ...], typer.Option(metavar="N,…", help="Batch sizes.")] = (1, 2)
    bounds: Annotated[tuple[float, float] | None, typer.Option(help="Two numbers.")] = None
    files: Annotated[tuple[Path, ...], typer.Option(help="Paths.")] = ()
    depth: Annotated[int, typer.Option("-d", "--depth", help="A number.")] = 3


@pytest.fixture
def calls() -> list[tuple[str, Speed]]:
    return []


@pytest.fixture
def verb(calls: list[tuple[str, Speed]]) -> typer.Typer:
    """A command line of one verb, which keeps what it is given."""

    def run(name: Annotated[str, typer.Argument()], speed: Speed) -> None:
        """Run."""
        calls.append((name, speed))

    @contextmanager
    def guard(values: Mapping[str, Any]) -> Iterator[None]:
        assert set(values) == {"name", "batch", "bounds", "files", "depth"}
        yield

    made = typer.Typer(rich_markup_mode=None)
    made.command()(expand_options(run, guard))
    return made


def call(verb: typer.Typer, *words: str) -> Result:
    return CliRunner().invoke(verb, list(words), catch_exceptions=False)


def test_fields_become_options_with_their_defaults(verb: typer.Typer, calls: list[tuple[str, Speed]]) -> None:
    assert call(verb, "x").exit_code == 0
    assert calls == [("x", Speed())]
    shown = call(verb, "--help").output
    assert "Batch sizes." in shown
    assert "1,2" in shown


def test_lists_take_commas_and_may_be_repeated(
    verb: typer.Typer, calls: list[tuple[str, Speed]], tmp_path: Path
) -> None:
    call(verb, "x", "--batch", "3, 4", "--batch", "5", "--bounds", "-1,0.5", "-d", "7", "--files", "a,b")
    assert calls == [("x", Speed(batch=(3, 4, 5), bounds=(-1, 0.5), depth=7, files=(Path("a"), Path("b"))))]
    comma = tmp_path / "a,b"
    comma.touch()
    call(verb, "x", "--files", str(comma))
    assert calls[1][1].files == (comma,)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--batch", "1,x"), "--batch takes whole numbers separated by commas, not '1,x'"),
        (("--batch", ","), "--batch takes values separated by commas"),
        (("--bounds", "1"), "--bounds takes 2 values separated by commas, not '1'"),
    ],
)
def test_lists_that_make_no_sense(verb: typer.Typer, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call(verb, "x", *words)


def options_of(verb: str) -> dict[str, Any]:
    """The options of a verb by their long names."""
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return {name: option for option in command.params for name in option.opts if name.startswith("--")}


def verbs() -> list[str]:
    return [command.name or "" for command in app.registered_commands]


@pytest.mark.parametrize("verb", verbs())
def test_data_is_opened_alike(verb: str) -> None:
    options = options_of(verb)
    if "--data" not in options:
        return
    expected = DATA - {"--label-column", "--labels"} if verb == "verify" else DATA  # which uses no labels
    assert expected <= set(options)
    evaluate = options_of("evaluate")
    assert all(options[name].help == evaluate[name].help for name in expected)


@pytest.mark.parametrize("verb", verbs())
def test_results_are_written_to_the_output(verb: str) -> None:
    options = options_of(verb)
    assert not {"--out", "--folder", "--keep"} & set(options)
    if "--output" in options:
        assert "-o" in options["--output"].opts


def test_no_verb_takes_an_option_without_help() -> None:
    for verb in verbs():
        assert all(option.help for option in options_of(verb).values()), verb


def test_shell_completion_can_be_installed() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--install-completion" in shown


def test_networks_and_presets_are_completed() -> None:
    from enxuto.cli.shared.completion import complete_networks, complete_presets

    assert "squeezenet-dsc" in complete_networks("squeeze")
    assert complete_presets("image") == ["imagenet"]
    assert complete_networks("nothing-like-it") == []


def test_signatures_are_what_typer_reads() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        kinds = {p.kind for p in inspect.signature(command.callback).parameters.values()}
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY}
