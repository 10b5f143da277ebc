"""Reserved tokens: named places in a vocabulary, for tokens that a trained model may be given later.

>>> next(reserved_names())
b'<|reserved_token_ffefe01ae7c5eca5e81b071fceac3c06|>'
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import count

_NAME = re.compile(rb"<\|reserved_token_[0-9a-f]{32}\|>")


def reserved_names() -> Iterator[bytes]:
    """Distinct names without end, always the same ones in the same order."""
    for index in count():
        digest = hashlib.sha256(b"femto reserved token %d" % index).hexdigest()
        yield b"<|reserved_token_%s|>" % digest[:32].encode()


def is_reserved(token: bytes) -> bool:
    """Whether token is such a name: ``<|reserved_token_``, 32 hexadecimal digits (no capitals), ``|>``."""
    return _NAME.fullmatch(token) is not None
