"""`KeptChannels`: the plan of a pruned network, layer → original places of the filters that are left.

With the architecture it came from (`Architecture`) it rebuilds the pruned network; alone it says what every round
removed. Plans compose: one made on an already pruned network becomes one of the original by `then`.
"""

from __future__ import annotations

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
    classes and options go to `zoo.build` and belong to names of the zoo alone.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if ":" in self.name and (self.classes is not None or self.options):
            raise UsageError(f"{self.name} is called without arguments: it takes no classes and no options")

    def build(self) -> nn.Module:
        """The unpruned network; its weights are fresh and always the same for a name of the zoo."""
        if ":" in self.name:
            from enxuto.summary import build_module

            return build_module(self.name)
        return zoo.build(
            self.name, classes=self.classes, channels=self.input_shape[0], seed=0, **dict(self.options)
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; `from_dict` reads it."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "options": dict(self.options),
        }

    @property
    def factory(self) -> str | None:
        """The name where it is `module:factory`; None for a network of the zoo."""
        return self.name if ":" in self.name else None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], factory: str | None = None) -> Architecture:
        """Read what `to_dict` gave; `FormatError` where it is something else.

        factory: what the caller lets be called, `module:factory`. `values` may come from a file of anyone, so a factory
        named there is never taken: where there is one, the caller must give it, and it is the caller's that the result
        names. `UsageError` where only one of both says a factory.
        """
        try:
            name, classes, options = values["name"], values["classes"], dict(values["options"])
            shape = _places(values["input_shape"])
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
                "run: if you trust that code, name it yourself (--factory module:factory, or factory= in Python)"
            )
        if factory is not None and (":" not in name or ":" not in factory):
            raise UsageError(
                f"{factory!r} is not module:factory"
                if ":" in name
                else f"this is the zoo's {name[:80]!r} and needs no factory; leave out {factory!r}"
            )
        return cls(factory or name, shape, classes, options)


@dataclass(frozen=True)
class KeptChannels:
    """For each layer the places of the filters that stay, ascending, among its `widths` original ones."""

    layers: Mapping[str, tuple[int, ...]] = field(hash=False)
    widths: Mapping[str, int] = field(hash=False)

    def __post_init__(self) -> None:
        if self.layers.keys() != self.widths.keys():
            odd = sorted(self.layers.keys() ^ self.widths.keys())[0]
            raise UsageError(
                f"a plan must name the same layers in kept and widths; {odd!r} is in one of them"
            )
        for layer, places in self.layers.items():
            if list(places) != sorted(set(places)):
                raise UsageError(f"the kept filters of {layer} must be different and ascending")
            if places and not 0 <= places[0] <= places[-1] < self.widths[layer]:
                raise UsageError(f"{layer} has filters 0 to {self.widths[layer] - 1}; the plan names others")
            if not places:
                raise UsageError(f"nothing would be left of {layer}; keep at least one of its filters")

    def removed(self) -> dict[str, tuple[int, ...]]:
        """Layer → original places of the filters that are gone; layers that lost none are left out."""
        gone = {
            layer: tuple(sorted(set(range(self.widths[layer])) - set(places)))
            for layer, places in self.layers.items()
        }
        return {layer: places for layer, places in gone.items() if places}

    def then(self, later: KeptChannels) -> KeptChannels:
        """This plan followed by one of the network that it leaves; the result is a plan of the original.

        Raises `UsageError` where `later` is not a plan of that network. A convolution whose groups have one input
        left counts as depthwise in a trace of the pruned network; a plan that then removes whole groups is none of the
        original network, and `remove` says so.
        """
        left = {layer: len(places) for layer, places in self.layers.items()}
        if dict(later.widths) != left:
            odd = next(
                name for name in (*left, *later.widths) if later.widths.get(name, 0) != left.get(name, 0)
            )
            raise UsageError(
                f"the second plan is for another network: {odd} has {left.get(odd, 0)} filters after the first, "
                f"the second expects {later.widths.get(odd, 0)}"
            )
        places = {
            layer: tuple(self.layers[layer][place] for place in chosen)
            for layer, chosen in later.layers.items()
        }
        return KeptChannels(places, self.widths)

    @property
    def share(self) -> float:
        """The share of all filters that is kept, 0 to 1."""
        return sum(map(len, self.layers.values())) / sum(self.widths.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; `from_dict` reads it."""
        return {
            "widths": dict(self.widths),
            "kept": {layer: list(places) for layer, places in self.layers.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeptChannels:
        """Read what `to_dict` gave; `FormatError` where it is something else."""
        try:
            kept = {str(layer): _places(places) for layer, places in values["kept"].items()}
            widths = dict(zip(values["widths"], _places(list(values["widths"].values())), strict=True))
            if not all(isinstance(layer, str) for layer in (*values["kept"], *widths)):
                raise TypeError("layers")
            return cls(kept, widths)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"this is no plan of kept channels: {error!r} is wrong in it") from error
        except UsageError as error:
            raise FormatError(f"this plan cannot be: {error}") from error


def _places(values: Sequence[Any]) -> tuple[int, ...]:
    if not all(isinstance(place, int) and not isinstance(place, bool) for place in values):
        raise TypeError("places")
    return tuple(values)
