"""What every registered quantizer, coder, operator rule and reader must do; new ones are tested here by themselves.

Networks of the zoo have theirs in `tests/zoo/test_zoo_networks.py` (parametrised by `zoo.names()`), verbs in
`tests/test_house.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
import sys
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enxuto.quantize
from enxuto.calibration.gradients.rules import RULES
from enxuto.codec import CODERS, decode, encode
from enxuto.data import FORMATS, open_dataset
from enxuto.enx import quantizer_fields
from enxuto.errors import CODES, EnxutoError, FormatError

ARGUMENTS: dict[str, Any] = {"step": 0.05, "levels": 64, "mu": 255.0, "p": 4, "q": 3}
"""Values for quantizers' fields that have no default, by name."""


def quantizers() -> list[type[Any]]:
    """All classes in `enxuto.quantize` that are quantizers: they have a `kind` and do what the protocol says."""
    found: dict[str, type[Any]] = {}
    for info in pkgutil.iter_modules(enxuto.quantize.__path__, "enxuto.quantize."):
        members: list[Any] = list(vars(importlib.import_module(info.name)).values())
        for value in members:
            methods = all(hasattr(value, name) for name in ("quantize", "reconstruct", "kind"))
            if methods and isinstance(value.kind, str) and isinstance(value, type):
                found[value.__name__] = value
    return list(found.values())


def made(kind: type[Any]) -> Any:
    """A quantizer of this class, with values for the fields that need one."""
    needed = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return kind(**{name: ARGUMENTS[name] for name in needed})


@pytest.mark.parametrize("kind", quantizers(), ids=lambda kind: kind.__name__)
def test_every_quantizer(kind: type[Any]) -> None:
    quantizer = made(kind)
    values = np.random.default_rng(0).normal(0, 0.3, (8, 50)).clip(-0.9, 0.9).astype(np.float32)
    levels = quantizer.quantize(values)
    assert levels.dtype == np.int32
    assert levels.shape == values.shape
    again = quantizer.reconstruct(levels)
    assert again.dtype == np.float32
    assert again.shape == values.shape
    assert np.abs(again - values).mean() < 0.1 * np.abs(values).mean()
    # What it gives stays where it is.
    assert np.array_equal(quantizer.reconstruct(quantizer.quantize(again)), again)
    assert made(kind) == quantizer
    assert hash(made(kind)) == hash(quantizer)


def test_every_quantizer_has_fields_in_the_file() -> None:
    kinds = {
        typing.get_args(fields.model_fields["kind"].annotation)[0]
        for fields in typing.get_args(quantizer_fields.QuantizerFields)
    }
    assert kinds == {kind.kind for kind in quantizers()}


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("scale", [0.3, 2.0, 40.0])
def test_every_coder(coder: Any, scale: float) -> None:
    levels = np.rint(np.random.default_rng(1).laplace(0, scale, (24, 30))).astype(np.int32)
    name, data = encode(levels.reshape(-1), [levels.shape], coder=coder)
    assert name == coder
    assert np.array_equal(decode(coder, data, [levels.shape]), levels.reshape(-1))
    assert encode(levels.reshape(-1), [levels.shape], coder=coder) == (name, data)
    for length in range(0, len(data), max(1, len(data) // 40)):
        with contextlib.suppress(FormatError):  # what goes unseen here the payload's checksum finds
            assert len(decode(coder, data[:length], [levels.shape])) == levels.size


def test_every_rule_of_an_operator_is_checked_against_differences() -> None:
    """The suite is in `tests/calibration/gradients`: a case for each operator, its slope by two differences."""
    sys.path.insert(0, str(Path(__file__).parent / "calibration" / "gradients"))
    try:
        cases = importlib.import_module("test_backward").CASES
        forms = importlib.import_module("rule_forms").FORMS
    finally:
        sys.path.pop(0)
    tried = {node.op_type for nodes, *_ in [*cases.values(), *forms.values()] for node in nodes}
    assert set(RULES) <= tried, f"give these a case there: {sorted(set(RULES) - tried)}"


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"hello\n", bytes(range(256)) * 8], ids=len)
def test_every_reader_refuses_what_is_not_its_own(format_: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(content)
    with pytest.raises(EnxutoError) as caught:
        open_dataset(path, format=format_).image(0)
    assert caught.value.code in CODES
    assert len(str(caught.value).splitlines()) == 1
