"""The bar that a text model must beat: a byte n-gram language model with interpolated Witten-Bell smoothing.

With c the k - 1 bytes before w, and c' the same without the oldest of them,

    p_k(w | c) = (count(c w) + N1+(c) p_{k-1}(w | c')) / (count(c) + N1+(c))

where count(c) is how often c is followed by a byte in the training text and N1+(c) by how many different ones. A context that
was never seen says nothing: p_k = p_{k-1}. The recursion ends at the uniform distribution, p_0 = 1/256.

Sources: Chen & Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", Harvard TR-10-98, 1998, section 2.5;
Witten & Bell, "The Zero-Frequency Problem", IEEE Transactions on Information Theory 37(4), 1991, method C.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from femto.errors import ConfigError, DataError

MAX_ORDER = 8  # An n-gram is one 64-bit integer.

_Grams: TypeAlias = npt.NDArray[np.uint64]
_Counts: TypeAlias = npt.NDArray[np.int64]


def bits_per_byte(training: bytes, held_out: bytes, order: int = 5) -> float:
    """Mean of -log2 p over the bytes of held_out. See :func:`probabilities`, whose errors it raises."""
    return float(-np.log2(probabilities(training, held_out, order)).mean())


def probabilities(training: bytes, held_out: bytes, order: int = 5) -> npt.NDArray[np.float64]:
    """p(byte | the order - 1 bytes before it) of every byte of held_out: float64 (len(held_out),), all above 0.

    Counts are of training alone. held_out continues training: its first bytes take their context from the end of training, or
    the shorter context that exists if training is shorter than that.

    Raises:
        ConfigError: order is not between 1 and 8.
        DataError: held_out is empty.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(f"order of an n-gram model must be between 1 and {MAX_ORDER}, not {order}")
    if not held_out:
        raise DataError("held-out text is empty: an n-gram model needs at least one byte to predict")
    seen = np.frombuffer(training, np.uint8)
    read = np.frombuffer(training[max(0, len(training) - order + 1) :] + held_out, np.uint8)
    result = np.full(len(held_out), 1 / 256)
    for k in range(1, order + 1):
        counts = _Table(_grams(seen, k))
        asked = _grams(read, k)[-len(held_out) :]
        # The oldest bytes have no gram this long if training is short: their shorter context stands.
        _interpolate(counts, asked, result[len(held_out) - len(asked) :])
    return result


class _Table:
    """How often each gram of a text occurs and, for each context (a gram without its last byte), what follows it."""

    def __init__(self, grams: _Grams) -> None:
        """grams: uint64 (N,), sorted in place."""
        grams.sort()
        starts = _starts(grams)
        self.grams = grams[starts]
        self.gram_counts = _lengths(starts, len(grams))
        # Sorted grams are sorted by context too, so a context is a run of grams: no second sort.
        contexts = self.grams >> np.uint64(8)
        first = _starts(contexts)
        self.contexts = contexts[first]
        self.followers = _lengths(first, len(contexts))  # N1+
        self.context_counts = _lengths(starts[first], len(grams))


def _interpolate(table: _Table, asked: _Grams, result: npt.NDArray[np.float64]) -> None:
    """Turns result from p_{k-1} into p_k of the grams asked, in place. All (M,)."""
    # Equal and neighbouring keys asked one after another keep the binary search in cache, and most grams are asked repeatedly.
    asked, where = np.unique(asked, return_inverse=True)
    count = _look_up(table.grams, table.gram_counts, asked)
    contexts = asked >> np.uint64(8)
    total = _look_up(table.contexts, table.context_counts, contexts)
    followers = _look_up(table.contexts, table.followers, contexts)
    # An unseen context has count = total = followers = 0; with N1+ = 1 instead the formula leaves p_{k-1} as it is.
    followers = np.maximum(followers, 1)
    weight = followers / (total + followers)
    result *= weight[where]
    result += (count / (total + followers))[where]


def _grams(text: npt.NDArray[np.uint8], k: int) -> _Grams:
    """The k-grams of text, oldest byte in the highest place: uint64 (max(0, len(text) - k + 1),)."""
    number = max(0, len(text) - k + 1)
    grams = np.zeros(number, np.uint64)
    for offset in range(k):
        grams <<= np.uint64(8)
        grams |= text[offset : offset + number]
    return grams


def _look_up(keys: _Grams, values: _Counts, asked: _Grams) -> _Counts:
    """values (K,) at the asked (M,) among the sorted keys (K,), and 0 where absent."""
    if not len(keys):
        return np.zeros(len(asked), np.int64)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)


def _starts(keys: _Grams) -> npt.NDArray[np.intp]:
    """Where each run of equal keys begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1]]))


def _lengths(starts: npt.NDArray[np.intp], end: int) -> _Counts:
    """Lengths of the runs that begin at starts, the last one before end."""
    return np.diff(starts, append=end)
