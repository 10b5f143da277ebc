"""Whether the passages of a text to validate on are also in the text that is trained on."""

import numpy as np
from numpy.typing import NDArray

from femto.token_files import TokenIds, release

PASSAGES = 64  # that are looked for, at even distances
PASSAGE_TOKENS = 32  # of each: what is longer than a stock phrase
SEARCHED_TOKENS = 1 << 24  # of the text, at most: of a longer one its first and its last half of so many
BLOCK = 1 << 15  # tokens that are searched at a time, so that they stay in the cache
LOW = np.uint64(0xFFFF)


def shared_passages(validation: TokenIds, training: TokenIds) -> float:
    """The share of passages of `validation` (N,) that stand in `training` (M,) too, 0 to 1.

    64 passages of 32 tokens are looked for, by their hashes. A text to validate on that has less than one has none.
    """
    last = len(validation) - PASSAGE_TOKENS
    if last < 0:
        return 0.0
    starts = np.unique(np.linspace(0, last, PASSAGES).astype(np.int64))
    passages = validation[starts[:, None] + np.arange(PASSAGE_TOKENS)]
    wanted = np.array([_hashes(passage)[0] for passage in passages])
    possible = np.zeros(int(LOW) + 1, bool)  # by the low bits of a hash: hardly any of the text is looked at again
    possible[wanted & LOW] = True
    found = np.zeros(len(wanted), bool)
    half = SEARCHED_TOKENS // 2
    parts = [training] if len(training) <= SEARCHED_TOKENS else [training[:half], training[-half:]]
    for part in parts:
        for start in range(0, max(0, len(part) - PASSAGE_TOKENS + 1), BLOCK):
            hashes = _hashes(part[start : start + BLOCK + PASSAGE_TOKENS - 1])
            release(training)
            found |= np.isin(wanted, hashes[possible[hashes & LOW]])
            if found.all():
                return 1.0
    return float(found.mean())


def _hashes(ids: TokenIds) -> NDArray[np.uint64]:
    """A hash of every PASSAGE_TOKENS ids in a row (N,), by hashes of 2, 4, 8, … of them: (N - PASSAGE_TOKENS + 1,)."""
    hashes, width = ids.astype(np.uint64) + np.uint64(1), 1
    while width < PASSAGE_TOKENS:
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15)  # unsigned, so it wraps round
        hashes ^= hashes >> np.uint64(29)
        hashes = hashes[:-width] * np.uint64(0xBF58476D1CE4E5B9) + hashes[width:]
        width *= 2
    return hashes
