"""Smallest sets of channels that may be removed together where parts must lose equally many.

Grouped convolutions and chunks demand that several partitions of the channels stay balanced at once; between two
grouped convolutions a shuffle makes the partitions cross. Two partitions alone always split into sets of one channel
a part (Birkhoff); in general a set is grown: whatever part is behind gets the channel that helps most and harms
least. The union of balanced sets is balanced, so sets can be removed in any number. Not here: the fewest possible
channels a set, which is an integer program.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["balanced_sets"]

Parts = Sequence[Sequence[int]]
Signature = tuple[tuple[int, int, int], ...]  # (balance, part, how many), of one atom


def balanced_sets(
    free: Iterable[int], balances: Sequence[Parts]
) -> tuple[list[tuple[int, ...]], dict[int, int]]:
    """Split the atoms `free` in sets each of which takes equally much from all parts of each balance.

    balances: for each its parts, lists of atoms, with repetition where one atom holds several channels. Returns the
    sets, and for each atom that no set could take the balance that it would upset.
    """
    signatures = _signatures(balances)
    sizes = [len(parts) for parts in balances]
    sets: list[tuple[int, ...]] = []
    pools: dict[tuple[int, ...], dict[Signature, deque[int]]] = defaultdict(lambda: defaultdict(deque))
    components = _components(signatures, len(balances))
    for atom in sorted(free):
        signature = signatures.get(atom, ())
        if not signature:
            sets.append((atom,))
        else:
            pools[components[signature[0][0]],][signature].append(atom)
    lost: dict[int, int] = {}
    for pool in pools.values():
        while any(pool.values()):
            grown = _grow(pool, sizes)
            if isinstance(grown, tuple):
                sets.append(grown)
            else:
                lost.update(grown)
    return sorted(sets), lost


def _signatures(balances: Sequence[Parts]) -> dict[int, Signature]:
    """Where each atom counts, and how much."""
    found: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    for number, parts in enumerate(balances):
        for place, part in enumerate(parts):
            for atom in part:
                found[atom][number, place] += 1
    return {
        atom: tuple(sorted((number, place, many) for (number, place), many in counts.items()))
        for atom, counts in found.items()
    }


def _components(signatures: Mapping[int, Signature], count: int) -> list[int]:
    """Balances that share atoms, directly or through others, get the same number."""
    parents = list(range(count))

    def root(place: int) -> int:
        while parents[place] != place:
            place = parents[place]
        return place

    for signature in signatures.values():
        for number, _, _ in signature[1:]:
            one, other = sorted((root(number), root(signature[0][0])))
            parents[other] = one
    return [root(place) for place in range(count)]


def _grow(
    pool: dict[Signature, deque[int]], sizes: Sequence[int]
) -> tuple[int, ...] | dict[int, int]:
    """One balanced set taken out of the pool; where it cannot be completed, all that is left and why."""
    counts: dict[int, list[int]] = {}
    taken: list[int] = []
    while True:
        behind = {
            (number, place): max(row) - held
            for number, row in counts.items()
            for place, held in enumerate(row)
            if held < max(row)
        }
        if taken and not behind:
            return tuple(sorted(taken))
        choices = [signature for signature, atoms in pool.items() if atoms]
        if behind:
            choices = [item for item in choices if any((n, place) in behind for n, place, _ in item)]
        if not choices:
            wanting = next(iter(behind))[0] if behind else 0
            return dict.fromkeys(taken, wanting)
        best = max(choices, key=lambda item: (_gain(item, behind, sizes), len(pool[item]), -pool[item][0]))
        taken.append(pool[best].popleft())
        for number, place, many in best:
            counts.setdefault(number, [0] * sizes[number])[place] += many


def _gain(
    signature: Signature, behind: Mapping[tuple[int, int], int], sizes: Sequence[int]
) -> int:
    """What an atom fills, less what it puts other parts behind."""
    gain = 0
    for number, place, many in signature:
        lack = behind.get((number, place), 0)
        filled = min(lack, many)
        gain += filled - (many - filled) * (sizes[number] - 1)
    return gain
