"""Options of architectures: what each means, which activations there are, and options written as `NAME=VALUE`.

Nothing here imports torch. What a network makes of a value is checked where it is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from enxuto.errors import UsageError
from enxuto.files import parse_toml
from enxuto.zoo.entry import OptionValue
from enxuto.zoo.registry import check_options, entry

__all__ = ["ACTIVATIONS", "MEANINGS", "format_options", "parse_options"]

ACTIVATIONS = ("relu", "relu6", "leaky_relu", "prelu", "displaced_relu", "elu", "tanh", "sigmoid")
"""What the option `activation` takes; `enxuto.zoo.activations` says what each computes."""

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "activation": f"in place of each activation: {', '.join(ACTIVATIONS)}",
        "auxiliary": "true: two more heads, which train with the network and are left out of an export",
        "bypass": "ways around Fire modules: none, simple (identities) or complex (1×1 convolutions too)",
        "conv_bias": "false: convolutions without bias",
        "dropout": "share of the values before the last layers that training sets to zero, from 0 and below 1",
        "groups": "groups of the 1×1 convolutions: 1, 2, 3, 4 or 8",
        "pool": "average or max",
        "resolution": "multiplier of height and width of the images, above 0",
        "width": "multiplier of the numbers of channels, above 0",
    }
)
"""Name of an option → what it does, for people."""

_WORDS: Mapping[str, OptionValue] = MappingProxyType({"true": True, "false": False, "none": None})


def parse_options(name: str, texts: Sequence[str] | None) -> dict[str, OptionValue]:
    """Return the options of the network `name` that texts such as `width=0.5` or `auxiliary=true` give.

    A number is a number, `true`, `false` and `none` are what they say, all else is text. Raises `UsageError` for a
    text without `=`, an option given twice, and one that the network does not have, with those that it has.
    """
    found: dict[str, OptionValue] = {}
    for text in texts or ():
        option, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not option or not value:
            raise UsageError(f"an option of a network is NAME=VALUE, such as width=0.5, not {text!r}")
        if option in found:
            raise UsageError(f"the option {option} of {name} is given twice; leave one out", code="E022")
        found[option] = _value(value)
    check_options(entry(name), found)
    return found


def format_options(options: Mapping[str, OptionValue]) -> list[str]:
    """Return options as `parse_options` reads them."""
    words = {value: word for word, value in _WORDS.items()}
    return [
        f"{option}={words[value] if value is None or isinstance(value, bool) else value}"
        for option, value in options.items()
    ]


def _value(text: str) -> OptionValue:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text
    return value if isinstance(value, (int, float, str)) else text
