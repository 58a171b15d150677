"""Figures in messages, with as many digits as it takes to see what is said of them."""

from __future__ import annotations

__all__ = ["figure_beyond"]


def figure_beyond(value: float, bound: float, form: str, digits: int) -> str:
    """Return a value beyond a bound so that it reads beyond it: rounded to a few digits it might seem to be on it.

    form: `f` or `g`. digits: the fewest.
    """
    for count in range(digits, 17):
        text = f"{value:.{count}{form}}"
        if float(text) != bound and (float(text) > bound) == (value > bound):
            return text
    return str(value)
