"""Sets that keep several partitions balanced at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.prune.channels.balance import balanced_sets


def test_without_balances_every_channel_is_alone() -> None:
    assert balanced_sets([2, 0, 1], []) == ([(0,), (1,), (2,)], {})


def test_channel_k_of_one_group_goes_with_channel_k_of_the_others() -> None:
    assert balanced_sets(range(6), [[[0, 1, 2], [3, 4, 5]]]) == ([(0, 3), (1, 4), (2, 5)], {})


def test_a_shuffle_between_two_groupings_costs_nothing() -> None:
    """Groups {0,1,2,3}, {4,5,6,7} before and {0,1,4,5}, {2,3,6,7} behind: pairs across both."""
    found, lost = balanced_sets(range(8), [[[0, 1, 2, 3], [4, 5, 6, 7]], [[0, 1, 4, 5], [2, 3, 6, 7]]])
    assert not lost
    assert [len(atoms) for atoms in found] == [2, 2, 2, 2]


def test_a_channel_that_counts_twice_needs_two_partners() -> None:
    assert balanced_sets([0, 1, 2], [[[0, 0], [1, 2]]]) == ([(0, 1, 2)], {})


def test_a_channel_whose_partners_must_stay_is_lost() -> None:
    found, lost = balanced_sets([0, 2, 3], [[[0, 1], [2, 3]]])
    assert found == [(0, 2)]
    assert lost == {3: 0}


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_every_set_is_balanced_and_every_atom_is_somewhere(data: st.DataObject) -> None:
    groups, each = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 5))
    count = groups * each
    balances = []
    for _ in range(data.draw(st.integers(1, 3))):
        order = data.draw(st.permutations(range(count)))
        balances.append([order[start : start + each] for start in range(0, count, each)])
    stay = set(data.draw(st.lists(st.integers(0, count - 1), max_size=2)))
    found, lost = balanced_sets((atom for atom in range(count) if atom not in stay), balances)
    everything = [*(atom for atoms in found for atom in atoms), *lost]
    assert sorted(everything) == sorted(set(range(count)) - stay)
    for atoms in found:
        for parts in balances:
            assert len({len(set(part) & set(atoms)) for part in parts}) == 1
    if not stay:
        assert not lost
