"""What a difference file says of itself: which file it is for, which one it makes, and how each payload comes about.

JSON in the file, checked frozen objects here, as the table of an `.enx` file (`enxuto.enx.table`).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError

from enxuto.enx.quantizer_fields import Checked
from enxuto.enx.table import damage_of
from enxuto.errors import FormatError

__all__ = ["Change", "How", "PatchTable", "parse_table"]

How: TypeAlias = Literal["same", "moves", "differences", "stored"]
"""The old payload as it is; levels, or exact values, by what moved; bytes of the new payload."""

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, le=1 << 40)]
_Number = Annotated[int, Field(ge=0, lt=1 << 31)]


class Change(Checked):
    """A payload of the new file that is not the one of the same number in the old file.

    row: its number. how: how it comes about. of: the number of the old payload. bytes: its length in the difference
    file.
    """

    row: _Number
    how: How
    of: _Number = 0
    bytes: _Count = 0


class PatchTable(Checked):
    """All of it.

    base, result: SHA-256 of the old and the new file. content: of the new file's table, graph and payloads, which says
    that only the compression of the head differs. table, graph, frames: bytes of the new file's table, graph and
    frames. rows: number of payloads. crc32: of the payloads of the difference file.
    """

    base: _Hash
    result: _Hash
    content: _Hash
    table: _Number
    graph: _Number
    frames: _Number
    rows: _Number
    changed: tuple[Change, ...]
    crc32: str = Field(pattern=r"^[0-9a-f]{8}$")

    @property
    def sides(self) -> int:
        """Bytes of table, graph and frames."""
        return self.table + self.graph + self.frames

    def changes(self) -> dict[int, Change]:
        """Return the changes by the number of their payload; `FormatError` where they are out of order."""
        numbers = [change.row for change in self.changed]
        if any(number >= self.rows for number in numbers) or numbers != sorted(set(numbers)):
            raise FormatError("the difference file's payloads are out of order", code="E052")
        return {change.row: change for change in self.changed}


def parse_table(text: bytes) -> PatchTable:
    """Return the checked table; `FormatError` names the first thing that is wrong with it."""
    try:
        return PatchTable.model_validate_json(text)
    except ValidationError as error:
        raise damage_of(error) from error
