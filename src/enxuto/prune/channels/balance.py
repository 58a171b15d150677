"""Small sets of channels that may be removed together where parts must lose equally many.

Grouped convolutions and chunks demand that several partitions of the channels stay balanced at once; a shuffle between
two grouped convolutions makes their partitions cross. Partition by partition, sets that are not balanced yet are
joined: the part that is behind gets the set that helps most, and among those the one that helps the other partitions
most. Sums of balanced sets are balanced, so no later partition undoes an earlier one, and groups can be removed in any
number. Not here: the smallest possible sets, which is an integer program.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["balanced_sets"]

Parts = Sequence[Sequence[int]]
# Sorted (balance, part, how many more than in the emptiest part of that balance).
Signature = tuple[tuple[int, int, int], ...]
Pool = dict[Signature, deque[tuple[int, ...]]]


def balanced_sets(
    free: Iterable[int], balances: Sequence[Parts]
) -> tuple[list[tuple[int, ...]], dict[int, int]]:
    """Split the atoms `free` in sets each of which takes equally much from all parts of each balance.

    balances: for each its parts, lists of atoms, with repetition where one atom holds several channels. Returns the
    sets, and for each atom that no set could take the balance that it would upset.
    """
    sizes = [len(parts) for parts in balances]
    counts = _counts(balances)
    pool: Pool = defaultdict(deque)
    for atom in sorted(free):
        pool[_signature(counts.get(atom, {}), sizes)].append((atom,))
    unbalanced: dict[int, int] = {}
    for number in range(len(balances)):
        later: Pool = defaultdict(deque)
        uneven: Pool = defaultdict(deque)
        for signature, sets in pool.items():
            (uneven if any(item[0] == number for item in signature) else later)[signature].extend(sets)
        while any(uneven.values()):
            atoms, signature, complete = _grow(uneven, number, sizes)
            if complete:
                later[signature].append(atoms)
            else:
                unbalanced.update(dict.fromkeys(atoms, number))
        pool = later
    return sorted(atoms for sets in pool.values() for atoms in sets), unbalanced


def _counts(balances: Sequence[Parts]) -> dict[int, dict[tuple[int, int], int]]:
    """Atom → (balance, part) → how many of its channels lie there."""
    found: dict[int, dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))
    for number, parts in enumerate(balances):
        for position, part in enumerate(parts):
            for atom in part:
                found[atom][number, position] += 1
    return found


def _signature(counts: Mapping[tuple[int, int], int], sizes: Sequence[int]) -> Signature:
    """What is uneven in these counts: what all parts of a balance have is left out."""
    numbers = {number for number, _ in counts}
    least = {
        number: min(counts.get((number, position), 0) for position in range(sizes[number]))
        for number in numbers
    }
    return tuple(
        sorted(
            (number, position, many - least[number])
            for (number, position), many in counts.items()
            if many > least[number]
        )
    )


def _grow(pool: Pool, number: int, sizes: Sequence[int]) -> tuple[tuple[int, ...], Signature, bool]:
    """A union of sets from the pool, its signature, and whether it is even in balance `number`."""
    counts: dict[tuple[int, int], int] = defaultdict(int)
    taken: list[int] = []
    while True:
        row = [counts[number, position] for position in range(sizes[number])]
        behind = {position for position, held in enumerate(row) if held < max(row)}
        if taken and not behind:
            return tuple(sorted(taken)), _signature(counts, sizes), True
        choices = [
            signature
            for signature, sets in pool.items()
            if sets
            and (not behind or any(n == number and position in behind for n, position, _ in signature))
        ]
        if not choices:
            return tuple(sorted(taken)), (), False
        best = max(
            choices,
            key=lambda item: (
                _gain(item, counts, sizes, number),
                _gain(item, counts, sizes),
                len(pool[item]),  # so that no kind runs out early
                -pool[item][0][0],
            ),
        )
        taken.extend(pool[best].popleft())
        for balance, position, many in best:
            counts[balance, position] += many


def _gain(
    signature: Signature, counts: Mapping[tuple[int, int], int], sizes: Sequence[int], only: int | None = None
) -> int:
    """What a set fills of the parts that are behind, less what it puts others behind; in one balance or in all."""
    gain = 0
    for number, position, many in signature:
        if only is None or number == only:
            row = [counts.get((number, other), 0) for other in range(sizes[number])]
            filled = min(max(row) - row[position], many)
            gain += filled - (many - filled) * (sizes[number] - 1)
    return gain
