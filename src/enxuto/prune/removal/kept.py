"""`KeptChannels`: the plan of a pruned network, layer → original positions of the filters that are left.

With the architecture it came from (`Architecture`) it rebuilds the pruned network; alone it says what every round
removed. `compose` turns a plan for an already pruned network into one for the original.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from enxuto import zoo
from enxuto.errors import FormatError, UsageError
from enxuto.zoo.entry import OptionValue

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Architecture", "KeptChannels"]


@dataclass(frozen=True)
class Architecture:
    """How to build the unpruned network again.

    name: of the zoo, or `module:factory`, called without arguments. input_shape: (channels, height, width).
    classes and options go to `zoo.build` and belong to names of the zoo alone. graph: of a network that was read from a
    file (`OnnxNetwork.graph`); then the name is only what people call it.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict, hash=False)
    graph: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.graph is not None and (":" in self.name or self.classes is not None or self.options):
            raise UsageError("a network of a graph has no factory, no classes and no options", code="E022")
        if ":" in self.name and (self.classes is not None or self.options):
            raise UsageError(
                f"{self.name} is called without arguments: it takes no classes and no options", code="E022"
            )

    def build(self) -> nn.Module:
        """The unpruned network; its weights are fresh and always the same for a name of the zoo, zeros for a graph."""
        if self.graph is not None:
            from enxuto.importing.load import network_from_graph

            return network_from_graph(self.graph, self.input_shape)
        if ":" in self.name:
            from enxuto.summary import build_module

            return build_module(self.name)
        return zoo.build(
            self.name, classes=self.classes, channels=self.input_shape[0], seed=0, **dict(self.options)
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; `from_dict` reads it. A graph is there by its SHA-256, as it may have megabytes."""
        own = {} if self.graph is None else {"graph": hashlib.sha256(self.graph).hexdigest()}
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "options": dict(self.options),
            **own,
        }

    @property
    def factory(self) -> str | None:
        """The name where it is `module:factory`; None for a network of the zoo."""
        return self.name if ":" in self.name else None

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], factory: str | None = None, graph: bytes | None = None
    ) -> Architecture:
        """Build from `to_dict`'s output.

        `values` may come from anyone's file, so a factory named there is never called: the caller must give it, and the
        result names the caller's.

        Raises:
            FormatError: `values` are something else, or `graph` is not the one that they speak of.
            UsageError: the caller gives a factory and the network is one of the zoo, or the other way round.
        """
        try:
            name, classes, options = values["name"], values["classes"], dict(values["options"])
            shape = _as_positions(values["input_shape"])
            if not isinstance(name, str) or not all(isinstance(key, str) for key in options):
                raise TypeError("name")
            if not (classes is None or isinstance(classes, int)):
                raise TypeError("classes")
            if len(shape) != 3 or min(shape) < 1:
                raise ValueError("input_shape")
            if not all(
                value is None or isinstance(value, (bool, int, float, str)) for value in options.values()
            ):
                raise TypeError("options")
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"this is no description of an architecture: {error!r} is wrong in it"
            ) from error
        if ":" in name and factory is None:
            raise UsageError(
                f"this network is made by a factory that the file calls {name[:80]!r}; a file does not choose what is "
                "run: if you trust that code, name it yourself (factory=module:factory)",
                code="E023",
            )
        if factory is not None and (":" not in name or ":" not in factory):
            raise UsageError(
                f"{factory!r} is not module:factory"
                if ":" in name
                else f"this is the zoo's {name[:80]!r} and needs no factory; leave out {factory!r}"
            )
        expected = values.get("graph")
        if expected != (None if graph is None else hashlib.sha256(graph).hexdigest()):
            raise FormatError("the graph of this architecture is missing, or is another")
        return cls(factory or name, shape, classes, options, graph)


@dataclass(frozen=True)
class KeptChannels:
    """For each layer the positions of the filters that stay, ascending, among its `widths` original ones."""

    layers: Mapping[str, tuple[int, ...]] = field(hash=False)
    widths: Mapping[str, int] = field(hash=False)

    def __post_init__(self) -> None:
        if self.layers.keys() != self.widths.keys():
            odd = sorted(self.layers.keys() ^ self.widths.keys())[0]
            raise UsageError(
                f"a plan must name the same layers in kept and widths; {odd!r} is in one of them"
            )
        for layer, positions in self.layers.items():
            if list(positions) != sorted(set(positions)):
                raise UsageError(f"the kept filters of {layer} must be different and ascending")
            if positions and not 0 <= positions[0] <= positions[-1] < self.widths[layer]:
                raise UsageError(f"{layer} has filters 0 to {self.widths[layer] - 1}; the plan names others")
            if not positions:
                raise UsageError(f"nothing would be left of {layer}; keep at least one of its filters")

    def removed(self) -> dict[str, tuple[int, ...]]:
        """Layer → original positions of the removed filters; layers that lost none are left out."""
        gone = {
            layer: tuple(sorted(set(range(self.widths[layer])) - set(positions)))
            for layer, positions in self.layers.items()
        }
        return {layer: positions for layer, positions in gone.items() if positions}

    def compose(self, later: KeptChannels) -> KeptChannels:
        """Combine this plan with one for the network that it leaves; the result is a plan for the original.

        A convolution whose groups have one input left
        counts as depthwise in a trace of the pruned network. A plan that then removes whole groups does not fit the
        original network, and `remove` refuses it.

        Raises:
            UsageError: `later` is a plan for another network.
        """
        left = {layer: len(positions) for layer, positions in self.layers.items()}
        if dict(later.widths) != left:
            odd = next(
                name for name in (*left, *later.widths) if later.widths.get(name, 0) != left.get(name, 0)
            )
            raise UsageError(
                f"the second plan is for another network: {odd} has {left.get(odd, 0)} filters after the first, "
                f"the second expects {later.widths.get(odd, 0)}",
                code="E022",
            )
        positions = {
            layer: tuple(self.layers[layer][position] for position in chosen)
            for layer, chosen in later.layers.items()
        }
        return KeptChannels(positions, self.widths)

    @property
    def kept_share(self) -> float:
        """The share of all filters that is kept, 0 to 1."""
        return sum(map(len, self.layers.values())) / sum(self.widths.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; `from_dict` reads it."""
        return {
            "widths": dict(self.widths),
            "kept": {layer: list(positions) for layer, positions in self.layers.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeptChannels:
        """Read what `to_dict` gave; `FormatError` where it is something else."""
        try:
            kept = {str(layer): _as_positions(positions) for layer, positions in values["kept"].items()}
            widths = dict(zip(values["widths"], _as_positions(list(values["widths"].values())), strict=True))
            if not all(isinstance(layer, str) for layer in (*values["kept"], *widths)):
                raise TypeError("layers")
            return cls(kept, widths)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"this is no plan of kept channels: {error!r} is wrong in it") from error
        except UsageError as error:
            raise FormatError(f"this plan makes no sense: {error}") from error


def _as_positions(values: Sequence[Any]) -> tuple[int, ...]:
    if not all(isinstance(position, int) and not isinstance(position, bool) for position in values):
        raise TypeError("places")
    return tuple(values)
