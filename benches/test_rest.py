"""Encoding, saving and loading, and inference."""

import numpy as np
import pytest

from femto import checkpoint, generation, tokenizers
from femto.dummy_data import simple_dummy2

from .configurations import configuration
from .rates import note_rate

TEXT = simple_dummy2.generate()


@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_encode(benchmark, kind):
    learnt = kind == "bpe"
    tokenizer = tokenizers.BpeTokenizer.from_text(TEXT, 256) if learnt else tokenizers.build(kind, TEXT)
    benchmark(tokenizer.encode, TEXT)
    note_rate(benchmark, "megabytes_per_second", len(TEXT) / 1e6)


def test_learn_a_vocabulary(benchmark):
    benchmark.pedantic(tokenizers.BpeTokenizer.from_text, (TEXT, 256), rounds=3)


@pytest.fixture
def made():
    config, training = configuration("22")
    tokenizer = tokenizers.Tokenizer([b"<unk>", *(b"%d" % index for index in range(1, 257))], unk_id=0)
    return checkpoint.create(config, tokenizer, training)


@pytest.mark.parametrize("direction", ["save", "load"])
def test_checkpoint(benchmark, tmp_path, direction):
    config, training = configuration("22")
    made = checkpoint.create(config, tokenizers.CharTokenizer.from_text("".join(map(chr, range(256, 512)))), training)
    made.ready_optimizer()
    path = tmp_path / "model.dat"
    checkpoint.save(made, path)
    if direction == "save":
        benchmark(checkpoint.save, made, path)
    else:
        benchmark(checkpoint.load, path)


def test_tokens_inside_the_context(benchmark, made):
    def generate():
        ids = [1]
        for _, logits in zip(range(79), generation.next_logits(made.model, ids), strict=False):
            ids.append(int(np.argmax(logits)))

    benchmark(generate)
    note_rate(benchmark, "tokens_per_second", 79)
