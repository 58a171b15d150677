"""Messages of the library name arguments as Python has them (`max_kl=`); the command line makes options of them.

An argument that the library calls otherwise than the verb does is listed in `_SAME`. What stands in a command
(`enxuto export … --option activation=prelu`), in a path or as the value of an option stays as it is.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Mapping
from shlex import quote
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer.models

__all__ = ["name_options"]

# A command, or an option and its value: what the first group does not find stays.
_KEPT = r"(?:^|(?<=`)|(?<=: ))enxuto [a-z]+ [^`\n]*|(?<![\w-])--?[a-z][a-z-]* [a-z][a-z0-9_]*="
_PAIR = r"\{(?:'[^'\n]*'|\"[^\"\n]*\"): '[\w:]*'\}"  # a dict of one name, such as {'y': 'values'}
_ARGUMENT = re.compile(
    _KEPT + r"|(?<![\w.\-'\"/\\])([a-z][a-z0-9_]*)=(False\b|True\b|" + _PAIR + r")?(?=([\w*]?))"
)

_SAME: Mapping[str, str] = MappingProxyType(
    {"shape": "input_shape", "names": "labels", "roles": "quantize_roles"}
)


def name_options(message: str, verb: Callable[..., Any]) -> str:
    """Return the message with `name=` as the verb's option, where it has one that is called so.

    `max_kl=` becomes `--max-kl`, `shape=C,H,W` becomes `--input-shape C,H,W`, `check=False` becomes `--no-check`,
    `outputs={'y': 'values'}` becomes `--outputs y=values`; a command in the message still does what it says.
    """
    options = _options(verb) if _ARGUMENT.search(message) else {}

    def option(found: re.Match[str]) -> str:
        name, given, value = found.groups()
        spelt = None if name is None else options.get(name) or options.get(_SAME.get(name, name))
        if spelt is None:
            return found[0]
        if given in ("True", "False"):
            return spelt if given == "True" else f"--no-{spelt.removeprefix('--')}"
        if given is not None:
            ((key, kind),) = literal_eval(given).items()
            return f"{spelt} {quote(f'{key}={kind}')}"
        return f"{spelt} " if value else spelt

    return _ARGUMENT.sub(option, message)


def _options(verb: Callable[..., Any]) -> dict[str, str]:
    """Return the verb's options by the names of its parameters, and by their own."""
    found: dict[str, str] = {}
    for name, hint in get_type_hints(verb, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        for given in get_args(hint)[1:]:
            if isinstance(given, typer.models.OptionInfo):
                # In an annotation, Typer keeps the first name as the default.
                words = [
                    word for word in (given.default, *(given.param_decls or ())) if isinstance(word, str)
                ]
                spelt = next(
                    (word.split("/")[0] for word in words if word.startswith("--")),
                    "--" + name.strip("_").replace("_", "-"),
                )
                found |= dict.fromkeys((name.strip("_"), spelt.lstrip("-").replace("-", "_")), spelt)
    return found
