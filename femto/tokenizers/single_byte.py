"""The fast path of the kinds whose tokens are single bytes."""

from array import array
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from femto.errors import TokenizerError
from femto.tokenizers.base import PIECE, UNKNOWN, Tokenizer, show


class SingleByteTokenizer(Tokenizer):
    """Encoding and decoding by look-up, for vocabularies of single bytes and perhaps ``<unk>``."""

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        """As :meth:`Tokenizer.encode`, with one look-up a byte: int32, shape (number of UTF-8 bytes,)."""
        self._check_text(text)
        found = array("i")
        for piece in self._utf8_pieces(text):
            data = np.frombuffer(piece, dtype=np.uint8)
            for start in range(0, len(data), PIECE):
                ids: NDArray[np.int32] = self._byte_to_id[data[start : start + PIECE]]
                found.frombytes(ids.data.cast("B"))
        return np.frombuffer(found, dtype=np.int32)

    def _join(self, ids: NDArray[np.integer]) -> bytes:
        if self.unk_id is not None and bool((ids == self.unk_id).any()):
            return super()._join(ids)
        found: NDArray[np.uint8] = self._id_to_byte[ids]
        return found.tobytes()

    @cached_property
    def _byte_to_id(self) -> NDArray[np.int32]:  # (256,)
        table = np.full(256, -1 if self.unk_id is None else self.unk_id, dtype=np.int32)
        for index, token in enumerate(self.tokens):
            if index != self.unk_id:
                table[token[0]] = index
        return table

    @cached_property
    def _id_to_byte(self) -> NDArray[np.uint8]:  # (vocab_size,); the entry of <unk> is not used
        return np.array([token[0] for token in self.tokens], dtype=np.uint8)

    def _check_exactly(self, expected: tuple[bytes, ...]) -> None:
        """Raise TokenizerError unless the tokens are the ones expected, in order."""
        what = f"{self.kind} tokenizer, case {'sensitive' if self.case_sensitive else 'insensitive'}"
        for index, (token, wanted) in enumerate(zip(self.tokens, expected, strict=False)):
            if token != wanted:
                raise TokenizerError(f"{what}: token {index} must be {show(wanted)}, not {show(token)}")
        if len(self.tokens) != len(expected):
            raise TokenizerError(f"{what}: must have {len(expected)} tokens, not {len(self.tokens)}")


def byte_tokens(values: bytes) -> tuple[bytes, ...]:
    """One token for each byte of values, then ``<unk>`` unless all 256 are there."""
    tokens = tuple(bytes([value]) for value in values)
    return tokens if len(tokens) == 256 else (*tokens, UNKNOWN)
