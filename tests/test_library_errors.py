"""Wrong calls of the library are one line that names what is wrong, instead of a wrong result or a riddle of NumPy's."""

import numpy as np
import pytest

import femto
from femto.errors import ConfigError, DataError
from femto.model.linear import Pass

TOKENIZER = femto.tokenizers.build("char", "abcdefgh ")
SHAPE = {"num_tokens": 8, "embedding_degree": 16, "num_layers": 1, "num_heads": 2}
CONFIG = femto.ModelConfig(TOKENIZER.vocab_size, **SHAPE)


def made():
    return femto.create(CONFIG, TOKENIZER, femto.TrainConfig(batch_size=2, validation_split=0.1, seed=1))


def ids(*shape, dtype=np.int32):
    return np.zeros(shape, dtype)


def graph():
    return femto.Graph(made().model, 2, 8)


def full_decoder():
    decoder = femto.Decoder(made().model)
    decoder.prefill(ids(8))
    return decoder


def session(**options):
    return femto.Session(made(), femto.from_text("text", "abc " * 40, TOKENIZER), None, **options)


WRONG = [
    (lambda: femto.Graph(made().model, 1, 9), ConfigError, "from 1 to the context of 8; got 1 and 9"),
    (lambda: femto.Graph(made().model, 0, 8), ConfigError, "got 0 and 8"),
    (lambda: graph().forward(ids(3, 8)), ValueError, r"tokens: expected shape \(2, 8\), got \(3, 8\)"),
    (lambda: graph().forward([[0] * 9] * 2), ValueError, r"tokens: expected shape \(2, 8\), got \(2, 9\)"),
    (lambda: graph().forward(ids(2, 8, dtype=np.int64)), TypeError, r"tokens.astype\(np.int32\)"),
    (lambda: graph().accumulate_gradients(ids(2, 8), ids(2, 8), Pass(8), 1.0), ValueError, "training=True"),
    (lambda: femto.Decoder(made().model).prefill(ids(0)), ConfigError, "got 1 and 0"),
    (lambda: femto.Decoder(made().model).prefill(ids(9)), ConfigError, "the context of 8"),
    (lambda: full_decoder().decode(0), ValueError, "the context of 8 tokens is full"),
    (lambda: femto.Decoder(made().model).decode(10**12), ValueError, "token: expected an id from 0 to 9, got 1000000000000"),
    (lambda: femto.Decoder(made().model).decode(1.5), TypeError, "float"),
    (lambda: femto.evaluate(made().model, ids(1), TOKENIZER), DataError, "at least 2"),
    (lambda: femto.evaluate(made().model, ids(9), femto.tokenizers.build("ascii")), ValueError, "expected one of 10 tokens"),
    (lambda: femto.Trainer(made(), ids(1)), DataError, "at least 2"),
    (lambda: femto.Trainer(made(), ids(9), on_non_finite="skipp"), ConfigError, "stop or skip, got 'skipp'"),
    (lambda: femto.create(femto.ModelConfig(5, **SHAPE), TOKENIZER, femto.TrainConfig()), ConfigError, "tokenizer, 10, got 5"),
    (lambda: session(validate_every=0), ConfigError, "validate_every must be 1 or more, got 0"),
    (lambda: session(save_every=0), ConfigError, "save_every"),
    (lambda: session(snapshot_every=-1), ConfigError, "snapshot_every"),
    (lambda: session(patience=-1), ConfigError, "patience must be 0 or more"),
    (lambda: next(session().run(-1)), ConfigError, "steps must be 0 or more"),
    (lambda: next(session().run(2**32 + 1)), ConfigError, "steps must be at most 4,294,967,296"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", range(len(WRONG)))
def test_a_wrong_call_says_what_is_wrong(wrong):
    call, error, message = WRONG[wrong]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
