"""What the token embedding says: which tokens are alike, head by head."""

from dataclasses import dataclass

import numpy as np

from femto.model import Model

ELEMENTS = 1 << 21  # cosines in memory at a time
NOT_A_NUMBER, NO_PAIR = -2.0, -3.0  # below every cosine


@dataclass(frozen=True)
class TokenPair:
    """Two tokens, the lower id first, and the cosine of their embeddings' columns of one head."""

    first: int
    second: int
    cosine: float


def closest_tokens(model: Model, head: int, limit: int = 10) -> list[TokenPair]:
    """The `limit` pairs of tokens whose embeddings are most alike in the columns of a head (head * hs to (head + 1) * hs - 1).

    Most alike first; equally alike, in the order of their ids; those that are not numbers, last.
    """
    size, vocab_size = model.config.head_size, model.config.vocab_size
    part = model.tensors["token_embedding"][:, head * size : (head + 1) * size].astype(np.float64)
    norms = np.sqrt((part * part).sum(1, keepdims=True))
    with np.errstate(invalid="ignore"):  # of infinite embeddings
        units = np.divide(part, norms, out=np.zeros_like(part), where=norms != 0)
    block = max(1, ELEMENTS // vocab_size)
    pairs: list[TokenPair] = []
    keys = np.empty(0)  # by which the pairs are sorted
    for start in range(0, vocab_size, block):
        cosines = units[start : start + block] @ units[start:].T
        key = np.where(np.isnan(cosines), NOT_A_NUMBER, cosines)
        key[np.tril_indices(len(key))] = NO_PAIR
        least = keys[-1] if len(keys) == limit else NO_PAIR  # of pairs as much alike, those found before come first
        rows, columns = np.nonzero(key > least)
        best = np.argsort(-key[rows, columns], kind="stable")[:limit]
        rows, columns = rows[best], columns[best]
        places = zip((rows + start).tolist(), (columns + start).tolist(), cosines[rows, columns].tolist(), strict=True)
        pairs += [TokenPair(*place) for place in places]
        keys = np.concatenate([keys, key[rows, columns]])
        order = np.argsort(-keys, kind="stable")[:limit]
        pairs, keys = [pairs[index] for index in order], keys[order]
    return pairs
