"""The errors a user can meet.

Every one of them carries a message of one line that says what is wrong, where, and what to do about it, and a code
such as `E021` that stays the same where messages are reworded. `docs/reference/errors.md` lists the codes. The
command line prints both and exits with `exit_code`; in Python the code is `error.code`, and a note of the traceback.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CODES",
    "BudgetError",
    "DataError",
    "EnxutoError",
    "FormatError",
    "InFloat32Warning",
    "ModelError",
    "TrainingError",
    "UsageError",
    "did_you_mean",
    "does_not_exist",
    "error_reason",
    "import_optional",
    "install",
    "needs",
]

CODES = {
    "E010": "a file or folder is missing",
    "E011": "a file or folder cannot be read",
    "E012": "a file is there already and would be overwritten",
    "E013": "a file or folder cannot be written",
    "E014": "the output is one of the inputs",
    "E020": "an option or argument has a value that makes no sense",
    "E021": "a name is unknown",
    "E022": "options contradict each other",
    "E023": "an option or argument is missing",
    "E024": "an option has no effect here",
    "E030": "the model is not what was expected",
    "E031": "the file is no valid ONNX model",
    "E032": "an operator, type or form of model is not supported",
    "E033": "the model holds NaN or infinity",
    "E034": "the model does not run",
    "E035": "the model is not a classifier, or its answers cannot be judged",
    "E036": "nothing in the model can be compressed or pruned",
    "E037": "two models cannot be compared",
    "E040": "the data are not what was expected",
    "E041": "a sample cannot be read",
    "E042": "labels or classes do not fit",
    "E043": "there are too few samples",
    "E044": "the data do not fit the model's input",
    "E045": "the data hold NaN or infinity",
    "E046": "the preprocessing is unknown or does not fit",
    "E047": "a download failed",
    "E050": "the file is not what its format says",
    "E051": "the file was cut off",
    "E052": "the file is damaged",
    "E053": "the file needs a newer enxuto",
    "E054": "the difference is to another file",
    "E060": "a bound could not be kept",
    "E061": "the original answers no better than chance",
    "E070": "training diverged",
    "E071": "a checkpoint or training folder does not fit",
    "E080": "a study's folder does not fit or is damaged",
    "E081": "a point of a study failed",
    "E082": "another process is at work there",
    "E090": "a package is missing",
    "E091": "a device, port or address cannot be used",
    "E092": "there is not enough memory",
    "E093": "another process failed",
}
"""What each code means. A code is never given another meaning; one that is no longer raised stays listed."""

_LONGEST = 2000  # characters of a message


class EnxutoError(Exception):
    """Parent of all errors raised on purpose.

    Attributes: `code`, one of `CODES`, the class's general one by default; `exit_code` of the command line.
    A message is cut in its middle where it is long: names in it come from files and may have a million characters.
    """

    exit_code = 2
    code = "E020"

    def __init__(self, message: object = "", *more: object, code: str | None = None) -> None:
        if isinstance(message, str) and len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"
        super().__init__(message, *more)
        if code is not None:
            self.code = code
        self.add_note(f"{self.code}: {CODES[self.code]} (docs/reference/errors.md)")


class ModelError(EnxutoError):
    """A model cannot be read, is not what was expected, or holds weights that cannot be compressed."""

    code = "E030"


class DataError(EnxutoError):
    """A data set, image or label is missing, empty, or does not fit the model."""

    code = "E040"


class FormatError(EnxutoError):
    """The bytes of an `.enx` file (or another binary format read here) are not what the format says."""

    code = "E050"


class UsageError(EnxutoError):
    """An option or argument has a value that makes no sense, alone or beside the others."""


class BudgetError(EnxutoError):
    """A stated bound (accuracy, agreement, bits, size) could not be met; the best found was kept or reported.

    result: in Python, what was found nearest to the bound (`enxuto.compress`'s result), None where there is nothing.
    """

    exit_code = 1
    code = "E060"

    def __init__(
        self, message: object = "", *more: object, code: str | None = None, result: object = None
    ) -> None:
        super().__init__(message, *more, code=code)
        self.result = result


class TrainingError(EnxutoError):
    """Training diverged to NaN or infinity; the message names the last good checkpoint."""

    exit_code = 1
    code = "E070"


def install(*extras: str) -> str:
    """The command that installs extras of enxuto: in a checkout of it, as it is on no index."""
    return f"pip install '.[{','.join(extras)}]'"


def needs(what: str, packages: str, *extras: str) -> str:
    """The line for something that lacks packages: `charts need matplotlib: …`, where extras of enxuto bring them."""
    verb = "need" if what.endswith("s") and not what.endswith("ss") else "needs"
    return f"{what} {verb} {packages}: run {install(*extras)} in a checkout of enxuto"


def import_optional(module: str, what: str, package: str, *extras: str) -> Any:
    """Import a package that enxuto does not always need.

    Args:
        module: what to import.
        what: what needs it, for the message, such as `charts`.
        package: its name for people; of several packages that are imported together, the missing one is named.
        extras: of enxuto, which bring it.

    Returns: the module.

    Raises:
        UsageError: it is not installed; the message says how to install it.
    """
    try:
        importlib.import_module(module.partition(".")[0])
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(needs(what, package, *extras), code="E090") from error


def error_reason(error: BaseException) -> str:
    """Return another library's error as one line of at most 300 characters; its kind where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"


def does_not_exist(path: object, kind: str, hint: str = "") -> str:
    """Return the message for a file that is missing, the same for every kind of file; hint: `did_you_mean`'s."""
    return f"{path} does not exist{hint}; check the name of the {kind}"


class InFloat32Warning(UserWarning):
    """A model of bfloat16 runs in float32, as ONNX Runtime cannot run it otherwise here."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the choice closest to a misspelt name, or nothing where none is close."""
    close = difflib.get_close_matches(name, [str(choice) for choice in choices], n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
