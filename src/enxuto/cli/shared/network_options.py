"""Options of a network of the zoo, in every verb that builds one, and what a checkpoint says it was built of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.model_files import is_model_file
from enxuto.errors import UsageError, import_optional

if TYPE_CHECKING:
    from enxuto.train.checkpoint import Checkpoint
    from enxuto.zoo.entry import OptionValue

__all__ = ["NetworkOptions", "check_built_as", "input_shape", "options_with_weights", "read_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which form of a network of the zoo is built."""

    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of a network of the zoo, as `enxuto zoo NETWORK` lists them: width=0.5, auxiliary=true. "
            "Repeatable.",
        ),
    ] = None
    activation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Its activations: relu, relu6, leaky_relu, prelu, displaced_relu, elu, tanh, sigmoid.",
        ),
    ] = None

    def read(self, network: str) -> dict[str, OptionValue]:
        """Return the options by name; none for a network that is not of the zoo.

        Raises `UsageError` for an option that the network does not have, for a value that it does not take, and for any
        option where it is not of the zoo.
        """
        texts = [*(self.option or ()), *([f"activation={self.activation}"] if self.activation else ())]
        if not texts:
            return {}
        if ":" in network or is_model_file(network) or network.endswith(".pt"):
            raise UsageError(
                f"--option and --activation are for networks of the zoo; {network} is built as it is",
                code="E024",
            )
        from enxuto import zoo
        from enxuto.zoo.options import parse_options

        options: dict[str, Any] = parse_options(network, texts)
        torch = import_optional("torch", f"building {network}", "PyTorch", "train")
        with torch.device("meta"):  # what checks the values; nothing takes memory
            zoo.build(network, **options)
        return options


def input_shape(network: str, options: Mapping[str, OptionValue]) -> tuple[int, int, int]:
    """Return the (channels, height, width) that a network of the zoo takes when built with these options."""
    from enxuto import zoo

    resolution = options.get("resolution")
    if resolution is not None and (isinstance(resolution, bool) or not isinstance(resolution, (int, float))):
        raise UsageError(f"{network}: resolution must be a number above 0, not {resolution!r}")
    return zoo.input_shape(network, resolution=resolution)


def read_checkpoint(path: Path | None) -> Checkpoint | None:
    """Return a checkpoint of `enxuto train`; None for no file, and for one that holds only weights."""
    from enxuto.archive import read_archive
    from enxuto.train.checkpoint import Checkpoint

    if path is None:
        return None
    held = read_archive(path)
    is_ours = isinstance(held, Mapping) and held.get("format") == "enxuto checkpoint"
    return Checkpoint.read(path) if is_ours else None


def options_with_weights(
    network: str, given: Mapping[str, OptionValue], path: Path | None
) -> dict[str, OptionValue]:
    """Return the options that a network is built with: those that its checkpoint names, and those given.

    Raises `UsageError` where the checkpoint is of another network, or was trained with other options than those given.
    """
    checkpoint = read_checkpoint(path)
    built = None if checkpoint is None else checkpoint.network
    options = check_built_as(network, given, built, path)
    if checkpoint is not None and built is not None and options:
        # They stand in a file, which may come from anyone.
        from enxuto.prune.removal.kept import Architecture
        from enxuto.prune.removal.rebuild import check_declared_size

        shape = (built["channels"], *input_shape(network, options)[1:])
        check_declared_size(Architecture(network, shape, built["classes"], options), checkpoint.model)
    return options


def check_built_as(
    network: str, given: Mapping[str, OptionValue], built: Mapping[str, object] | None, path: Path | None
) -> dict[str, OptionValue]:
    """The same, of what a checkpoint says: its `network`, None where it does not say it."""
    if built is None or ":" in network:
        return dict(given)
    if built["name"] != network:
        raise UsageError(
            f"{path} holds weights of {str(built['name'])[:80]!r}, not of {network}; name that network",
            code="E071",
        )
    trained = built["options"]
    assert isinstance(trained, Mapping)
    for option, value in given.items():
        if option not in trained or trained[option] != value:
            has = f"{option}={trained[option]}" if option in trained else f"no option {option}"
            raise UsageError(
                f"{path} was trained with {has:.80}, not {option}={value}; leave the option out", code="E071"
            )
    from enxuto import zoo
    from enxuto.zoo.registry import check_options

    check_options(zoo.entry(network), trained)
    return dict(trained)
