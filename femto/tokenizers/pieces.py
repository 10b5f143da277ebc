"""Where a text may be cut so that its parts, encoded one after another, give the ids of the whole."""

from collections.abc import Iterable, Iterator


def whole_pieces(pieces: Iterable[bytes], at_spaces: bool) -> Iterator[bytes]:
    """The same bytes, cut between UTF-8 characters; with at_spaces, only after a space or a newline.

    str.lower looks at the neighbours of a capital sigma, but never across a space or newline. A text without either then comes
    in one piece. Bytes that are not UTF-8 are cut anywhere.
    """
    rest: list[bytes] = []
    for piece in pieces:
        if at_spaces:
            cut = max(piece.rfind(b" "), piece.rfind(b"\n")) + 1
        else:
            piece = b"".join([*rest, piece])
            rest, cut = [], _last_character(piece)
        if cut:
            yield b"".join([*rest, piece[:cut]])
            rest = []
        rest.append(piece[cut:])
    if any(rest):
        yield b"".join(rest)


def _last_character(data: bytes) -> int:
    """Where the last character of data begins, if it may go on after it; else the end of data."""
    for place in range(len(data) - 1, max(-1, len(data) - 5), -1):
        if data[place] >= 0xC0:  # the first byte of a character of several
            return place
        if data[place] < 0x80:
            break
    return len(data)
