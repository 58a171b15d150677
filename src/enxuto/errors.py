"""The errors a user can meet.

Every one of them carries a message of one line that says what is wrong, where, and what to do about it.
The command line prints that line and exits with `exit_code`; the Python API raises the error as it is.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "DataError",
    "EnxutoError",
    "FormatError",
    "ModelError",
    "TrainingError",
    "UsageError",
    "install",
    "needs",
]


_LONGEST = 2000  # characters of a message


class EnxutoError(Exception):
    """Parent of all errors raised on purpose; `exit_code` is what the command line ends with.

    A message is cut in its middle where it is long: names in it come from files and may have a million characters.
    """

    exit_code = 2

    def __init__(self, message: object = "", *more: object) -> None:
        if isinstance(message, str) and len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"
        super().__init__(message, *more)


class ModelError(EnxutoError):
    """A model cannot be read, is not what was expected, or holds weights that cannot be compressed."""


class DataError(EnxutoError):
    """A data set, image or label is missing, empty, or does not fit the model."""


class FormatError(EnxutoError):
    """The bytes of an `.enx` file (or another binary format read here) are not what the format says."""


class UsageError(EnxutoError):
    """An option or argument has a value that makes no sense, alone or beside the others."""


class BudgetError(EnxutoError):
    """A stated bound (accuracy, agreement, bits, size) could not be met; the best found was kept or reported."""

    exit_code = 1


class TrainingError(EnxutoError):
    """Training came to numbers that are none; the last good checkpoint is named."""

    exit_code = 1


def install(*extras: str) -> str:
    """The command that installs extras of enxuto: in a checkout of it, as it is on no index."""
    return f"pip install '.[{','.join(extras)}]'"


def needs(what: str, packages: str, *extras: str) -> str:
    """The line for something that lacks packages: `charts need matplotlib: …`, where extras of enxuto bring them."""
    verb = "need" if what.endswith("s") and not what.endswith("ss") else "needs"
    return f"{what} {verb} {packages}: run {install(*extras)} in a checkout of enxuto"
