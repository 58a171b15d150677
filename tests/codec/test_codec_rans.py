"""The coder against an rANS in plain Python that shares no line with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.codec import rans

LOW = 2**24


def slow_encode(
    tokens: list[int], frequencies: list[int], bits: int, count: int
) -> tuple[list[int], list[int]]:
    """Encode with whole numbers of any size; return (states, words in the order they are read)."""
    states = [LOW] * count
    words: list[int] = []
    for i in reversed(range(len(tokens))):
        f, start, x = frequencies[tokens[i]], sum(frequencies[: tokens[i]]), states[i % count]
        # The decoder moves a word when the state falls below LOW, so that x must leave room for that.
        while x // f * 2**bits + x % f + start >= LOW * 2**16:
            words.append(x % 2**16)
            x //= 2**16
        states[i % count] = x // f * 2**bits + x % f + start
    return states, words[::-1]


def slow_decode(
    states: list[int], words: list[int], frequencies: list[int], bits: int, size: int
) -> list[int]:
    """Decode as `docs/format.md` says it, line by line."""
    states, words, out = list(states), list(words), []
    for i in range(size):
        x = states[i % len(states)]
        slot = x % 2**bits
        token, start = 0, 0
        while not start <= slot < start + frequencies[token]:
            start += frequencies[token]
            token += 1
        x = frequencies[token] * (x // 2**bits) + slot - start
        if x < LOW:
            x = x * 2**16 + words.pop(0)
        states[i % len(states)] = x
        out.append(token)
    assert not words
    assert set(states) == {LOW}
    return out


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], list[int], int, int]:
    """(tokens, frequencies, bits, number of states); some frequencies are 0, one may be all there is."""
    bits = draw(st.integers(8, 15))
    alphabet = draw(st.integers(1, 12))
    frequencies = draw(st.lists(st.integers(0, 40), min_size=alphabet, max_size=alphabet))
    largest = draw(st.integers(0, alphabet - 1))
    frequencies = [min(f, 2**bits // 16) for f in frequencies]
    frequencies[largest] = 0
    frequencies[largest] = 2**bits - sum(frequencies)
    usable = [token for token, f in enumerate(frequencies) if f]
    tokens = draw(st.lists(st.sampled_from(usable), max_size=120))
    return tokens, frequencies, bits, draw(st.sampled_from([1, 4]))


def fast_encode(
    tokens: list[int], frequencies: list[int], bits: int, count: int
) -> tuple[list[int], list[int]]:
    f = np.array(frequencies, np.int64)
    states, words = np.zeros(count, np.int64), np.zeros(len(tokens), np.uint16)
    begin = rans.encode(np.array(tokens, np.uint16), f, np.cumsum(f) - f, bits, states, words)
    return states.tolist(), words[begin:].tolist()


def fast_decode(
    states: list[int], words: list[int], frequencies: list[int], bits: int, size: int
) -> tuple[bool, list[int]]:
    table = rans.slot_table(np.array(frequencies, np.int64), np.arange(len(frequencies), dtype=np.int32))
    out = np.full(size, -7, np.int32)
    fine = rans.decode(table, bits, np.array(states, np.int64), np.array(words, np.uint16), out)
    return fine, out.tolist()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_agrees_with_the_slow_coder(case: tuple[list[int], list[int], int, int]) -> None:
    tokens, frequencies, bits, count = case
    states, words = fast_encode(tokens, frequencies, bits, count)
    assert (states, words) == slow_encode(tokens, frequencies, bits, count)
    assert fast_decode(states, words, frequencies, bits, len(tokens)) == (True, tokens)
    assert slow_decode(states, words, frequencies, bits, len(tokens)) == tokens


def test_a_certain_symbol_costs_nothing() -> None:
    states, words = fast_encode([0] * 1000, [256], 8, 4)
    assert (states, words) == ([LOW] * 4, [])


def test_exact_words() -> None:
    """Worked by hand: f = (192, 64) of 256. Each 1 multiplies the state by 4, each 0 by 4/3, from 2^24 on.

    2^24 →1→ 2^24/64·256 + 192 = 2^26 + 192; →0→ (2^26 + 192)/192 = 349526 rest 64: 349526·256 + 64 = 89478720.
    """
    states, words = fast_encode([0, 1], [192, 64], 8, 1)
    assert (states, words) == ([89478720], [])


@pytest.mark.parametrize("count", [1, 4])
def test_wrong_ends_are_noticed(count: int) -> None:
    tokens, frequencies = [0, 1, 2, 3] * 60, [100, 100, 50, 6]
    states, words = fast_encode(tokens, frequencies, 8, count)
    assert len(words) > 4
    size = len(tokens)
    assert not fast_decode(states, words[:-1], frequencies, 8, size)[0]
    assert not fast_decode(states, [*words, 0], frequencies, 8, size)[0]
    assert not fast_decode(states, [], frequencies, 8, size)[0]
    assert not fast_decode([states[0] ^ 1, *states[1:]], words, frequencies, 8, size)[0]
    assert not fast_decode(states, words, frequencies, 8, size - 1)[0]
    assert not fast_decode(states, words, frequencies, 8, size + 1)[0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(LOW, 2**40 - 1), min_size=4, max_size=4),
    st.lists(st.integers(0, 2**16 - 1), max_size=30),
    st.integers(0, 100),
)
def test_any_words_decode_to_symbols_or_are_refused(states: list[int], words: list[int], size: int) -> None:
    fine, out = fast_decode(states, words, [128, 100, 27, 1], 8, size)
    if fine:
        assert set(out) <= {0, 1, 2, 3}
        assert fast_encode(out, [128, 100, 27, 1], 8, 4) == (states, words)
