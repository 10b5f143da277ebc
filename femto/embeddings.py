"""What the token embedding says: which tokens are alike, head by head."""

from dataclasses import dataclass

import numpy as np

from femto.model import Model

BLOCK = 512  # tokens compared with all others at a time


@dataclass(frozen=True)
class TokenPair:
    """Two tokens, the lower id first, and the cosine of their embeddings' columns of one head."""

    first: int
    second: int
    cosine: float


def closest_tokens(model: Model, head: int, limit: int = 10) -> list[TokenPair]:
    """The `limit` pairs of tokens whose embeddings are most alike in the columns of a head (head * hs to (head + 1) * hs - 1).

    Most alike first; equally alike, in the order of their ids.
    """
    size, vocab_size = model.config.head_size, model.config.vocab_size
    part = model.tensors["token_embedding"][:, head * size : (head + 1) * size].astype(np.float64)
    norms = np.sqrt((part * part).sum(1, keepdims=True))
    units = np.divide(part, norms, out=np.zeros_like(part), where=norms > 0)
    pairs: list[TokenPair] = []
    for start in range(0, vocab_size, BLOCK):
        cosines = units[start : start + BLOCK] @ units[start:].T
        rows, columns = np.triu_indices(len(cosines), 1, cosines.shape[1])
        values = cosines[rows, columns]
        best = np.argpartition(-values, limit)[:limit] if limit < len(values) else np.arange(len(values))
        found = zip((rows[best] + start).tolist(), (columns[best] + start).tolist(), values[best].tolist(), strict=True)
        pairs += [TokenPair(*pair) for pair in found]
        pairs = sorted(pairs, key=lambda pair: (-pair.cosine, pair.first, pair.second))[:limit]
    return pairs
