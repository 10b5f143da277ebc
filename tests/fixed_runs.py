"""Runs whose results are known to the bit: what test_numerics.py holds, and the files of tests/formats.

Settings that every version knows, and of later ones what they mean as before, so that every version can make them again.
"""

import itertools
import re

import femto
from femto import growth, tokenizers
from femto.config import as_before

SENTENCE = "the quick brown fox jumps over a lazy dog and five boxing wizards; but not now?\n"
WORDS = re.split(" ", SENTENCE)
TEXT = " ".join(word for turn in range(40) for word in WORDS[turn % 7 :: 1 + turn % 3])


def new(shape=None, training=None, kind="char", preset="modern", **options):
    """An untrained checkpoint on a vocabulary of TEXT, seed 5."""
    tokenizer = tokenizers.build(kind, TEXT if kind == "char" else None, **options)
    chosen = femto.PRESETS[preset]
    small = {"num_tokens": 12, "embedding_degree": 20, "num_layers": 2, "num_heads": 4}
    config = femto.ModelConfig(tokenizer.vocab_size, **{**chosen.model, **small, **(shape or {})})
    settings = {
        "batch_size": 6, "learning_rate": 0.01, "min_learning_rate": 0.001, "warmup_steps": 3, "decay_steps": 20,
        "weight_decay": 0.05, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-8, "clip_norm": 1.0, "seed": 5, **(training or {}),
    }  # fmt: skip
    before = as_before(femto.TrainConfig)  # of what came later, whose default is that of new models
    return femto.create(config, tokenizer, femto.TrainConfig(**{**before, **settings}), preset, seed=5)


def trained(checkpoint, steps=8, text=TEXT):
    """The checkpoint, in place, after so many more steps."""
    dataset = femto.from_text("text", text, checkpoint.tokenizer)
    list(femto.Session(checkpoint, dataset, None).run(steps))
    return checkpoint


def grown(shape=None):
    """Deeper, wider, and with a longer context, with steps between."""
    checkpoint = trained(new(shape))
    checkpoint = trained(growth.insert_layer(checkpoint, 1, seed=6))
    checkpoint = trained(growth.insert_heads(checkpoint, 1, seed=7))
    return trained(growth.extend_context(checkpoint, 17, seed=8))


def grown_reference():
    """The same with the reference block, whose growth is random, and whose optimiser begins anew."""
    checkpoint = trained(new(preset="reference"))
    checkpoint = trained(growth.insert_layer(checkpoint, 2, seed=6))
    return trained(growth.insert_heads(checkpoint, 2, seed=7))


def inherited(shape=None):
    """The layers of a model with learned positions for another vocabulary and a longer context."""
    parent = trained(new({"positional_encoding": "learned", **(shape or {})}))
    return trained(growth.init_with(parent, tokenizers.build("byte", None), 15, seed=9))


RUNS = {
    f"{block} {positions} {initializer}": lambda block=block, positions=positions, initializer=initializer: trained(
        new({"block": block, "positional_encoding": positions, "initializer": initializer}, {"dropout": 0.1})
    )
    for block, positions, initializer in itertools.product(
        ("pre-norm", "reference"), ("none", "absolute", "learned", "rotary"), ("scaled", "reference")
    )
} | {
    "one of everything": lambda: trained(
        new({"num_tokens": 1, "embedding_degree": 1, "num_layers": 1, "num_heads": 1}, {"batch_size": 1})
    ),
    "odd sizes": lambda: trained(
        new({"num_tokens": 37, "embedding_degree": 81, "num_heads": 3, "rotary_base": 10000.0}, {"dropout": 0.3, "batch_size": 7})
    ),
    "micro-batches": lambda: trained(new(training={"micro_batch_size": 2, "dropout": 0.1, "clip_norm": 0.1})),
    "no clipping, cosine": lambda: trained(new(training={"clip_norm": 0.0, "decay": "cosine"})),
    "decay until the end of the run": lambda: trained(new(training={"decay_steps": None}), 12),
    "no decay": lambda: trained(new(training={"decay_steps": 0, "warmup_steps": 0, "weight_decay": 0.0})),
    "bytes, held-out part": lambda: trained(new(training={"validation_split": 0.2}, kind="byte")),
    "grown": grown,
    "grown reference": grown_reference,
    "inherited": inherited,
}
