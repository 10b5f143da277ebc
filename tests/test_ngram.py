"""The byte n-gram model: the recursion as a dictionary would have it, distributions, the order of texts, and errors."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femto.errors import ConfigError, DataError
from femto.experiments.ngram import bits_per_byte, probabilities

# Few different bytes make contexts recur; the extremes try the sign and the overflow of the integers that grams become.
few = st.lists(st.sampled_from([0, 1, 97, 255]), max_size=40).map(bytes)
texts = few | st.binary(max_size=20)
orders = st.integers(1, 8)


def oracle(training: bytes, held_out: bytes, order: int) -> list[float]:
    """The formula of the module's docstring, byte by byte."""
    followers: defaultdict[bytes, Counter[int]] = defaultdict(Counter)
    for end, byte in enumerate(training):
        for length in range(min(end, order - 1) + 1):
            followers[training[end - length : end]][byte] += 1

    def probability(byte: int, context: bytes) -> float:
        shorter = probability(byte, context[1:]) if context else 1 / 256
        seen = followers.get(context)
        return (seen[byte] + len(seen) * shorter) / (seen.total() + len(seen)) if seen else shorter

    text = training + held_out
    ends = range(len(training), len(text))
    return [probability(text[end], text[max(0, end - order + 1) : end]) for end in ends]


@settings(max_examples=300)
@given(training=texts, held_out=texts.filter(bool), order=orders)
def test_agrees_with_a_dictionary(training: bytes, held_out: bytes, order: int) -> None:
    expected = oracle(training, held_out, order)
    np.testing.assert_allclose(probabilities(training, held_out, order), expected, rtol=1e-12)
    assert bits_per_byte(training, held_out, order) == pytest.approx(-np.log2(expected).mean(), rel=1e-12)


@settings(max_examples=50)
@given(training=texts, context=st.binary(min_size=7, max_size=7) | few.map(lambda text: text[:7].rjust(7, b"a")), order=orders)
def test_probabilities_after_a_context_seen_or_not_sum_to_one(training: bytes, context: bytes, order: int) -> None:
    every_byte = b"".join(context + bytes([byte]) for byte in range(256))
    assert probabilities(training, every_byte, order)[7::8].sum() == pytest.approx(1, rel=1e-12)


def test_a_worked_example() -> None:
    # After "aab": p_1(a) = (2 + 2/256) / 5; "b" was never followed by anything, so p_2(a | b) is the same.
    # After "a", followed by a and b: p_2(a | a) = (1 + 2 p_1(a)) / 4.
    after_b = (2 + 2 / 256) / 5
    np.testing.assert_allclose(probabilities(b"aab", b"aa", order=2), [after_b, (1 + 2 * after_b) / 4])


def test_nothing_learnt_is_eight_bits_and_a_known_text_costs_less_than_another() -> None:
    assert bits_per_byte(b"", b"anything") == 8
    text = bytes(random.Random(0).choices(b"abcdefgh", k=2000))
    other = bytes(random.Random(1).choices(b"abcdefgh", k=2000))
    foreign = bytes(random.Random(2).choices(b"ABCDEFGH", k=2000))
    known, alike, strange = (bits_per_byte(text, held_out) for held_out in (text, other, foreign))
    assert known < 3 < alike < 8 < strange


def test_errors() -> None:
    with pytest.raises(DataError, match="held-out text is empty"):
        bits_per_byte(b"training", b"")
    for order in (0, 9):
        with pytest.raises(ConfigError, match=f"between 1 and 8, not {order}"):
            bits_per_byte(b"training", b"held out", order)
