"""Checks of option values, each with a message that names network, option and the values that work."""

from __future__ import annotations

from collections.abc import Collection

from enxuto.errors import UsageError, did_you_mean

__all__ = ["flag", "fraction", "one_of", "positive"]


def positive(name: str, option: str, value: object) -> float:
    """Return `value` as a float when it is a number above 0 (a width multiplier); `UsageError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"{name}: {option} must be a number above 0, not {value!r}")
    return float(value)


def fraction(name: str, option: str, value: object) -> float:
    """Return `value` as a float when 0 <= value < 1 (a dropout probability); `UsageError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UsageError(f"{name}: {option} must be at least 0 and below 1, not {value!r}")
    return float(value)


def flag(name: str, option: str, value: object) -> bool:
    """Return `value` when it is True or False; `UsageError` otherwise."""
    if not isinstance(value, bool):
        raise UsageError(f"{name}: {option} must be True or False, not {value!r}")
    return value


def one_of(name: str, option: str, value: object, choices: Collection[object]) -> None:
    """Raise `UsageError` when `value` is not among `choices`."""
    if isinstance(value, bool) or value not in choices:
        hint = did_you_mean(str(value), [str(choice) for choice in choices])
        allowed = ", ".join(map(repr, choices))
        raise UsageError(f"{name}: {option} must be one of {allowed}, not {value!r}{hint}", code="E021")
