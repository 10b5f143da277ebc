"""The fast path of the kinds whose tokens are single bytes."""

from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from femto.errors import TokenizerError
from femto.tokenizers.base import OTHER_TOKENS, PIECE, UNKNOWN, Tokenizer, show
from femto.tokenizers.pieces import whole_pieces


class SingleByteTokenizer(Tokenizer):
    """Encoding and decoding by look-up, for single bytes, then perhaps ``<unk>``, then reserved tokens."""

    may_keep = False

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

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[NDArray[np.int32]]:
        """As :meth:`Tokenizer.encode_pieces`; no token goes across two pieces."""
        return map(self.encode, whole_pieces(pieces, at_spaces=not self.case_sensitive))

    def _join(self, ids: NDArray[np.integer]) -> bytes:
        if bool((ids >= len(self._id_to_byte)).any()):
            return super()._join(ids)
        found: NDArray[np.uint8] = self._id_to_byte[ids]
        return found.tobytes()

    @cached_property
    def _byte_to_id(self) -> NDArray[np.int32]:  # (256,)
        table = np.full(256, -1 if self.unk_id is None else self.unk_id, dtype=np.int32)
        table[self._id_to_byte] = np.arange(len(self._id_to_byte))
        return table

    @cached_property
    def _id_to_byte(self) -> NDArray[np.uint8]:  # (number of single bytes,): their ids are the first
        return np.frombuffer(b"".join(self.tokens[: len(self.ordinary_ids)]), dtype=np.uint8)

    def _check_exactly(self, expected: tuple[bytes, ...]) -> None:
        """Raise TokenizerError unless the tokens are the ones expected, in order, and then only reserved ones."""
        what = f"{self.kind} tokenizer, case {'sensitive' if self.case_sensitive else 'insensitive'}"
        tokens = self.tokens[: len(self.tokens) - self.num_reserved]  # if a reserved one is elsewhere, it is in here
        for index, (token, wanted) in enumerate(zip(tokens, expected, strict=False)):
            if token != wanted:
                raise TokenizerError(f"{what}: token {index} must be {show(wanted)}, not {show(token)}; {OTHER_TOKENS}")
        if len(tokens) != len(expected):
            reserved = f", besides {self.num_reserved} reserved" if self.num_reserved else ""
            raise TokenizerError(f"{what}: must have {len(expected)} tokens, not {len(tokens)}{reserved}; {OTHER_TOKENS}")


def byte_tokens(values: bytes) -> tuple[bytes, ...]:
    """One token for each byte of values, then ``<unk>`` unless all 256 are there."""
    tokens = tuple(bytes([value]) for value in values)
    return tokens if len(tokens) == 256 else (*tokens, UNKNOWN)
