"""Models made from models: what is kept to the bit, what begins anew, and what the history says of it."""

import random

import numpy as np
import pytest

import femto
from femto import data, growth, tokenizers
from femto.tokenizers import BpeTokenizer

OTHER = "".join(random.Random(0).choices(["do ", "re ", "mi ", "fa", "sol", "la", "\n"], k=2000))
TEXT = "to be, or not to be: that is the question. " * 40


def trained(positions="rotary", steps=3, reserved=0):
    tokenizer = tokenizers.build("char", TEXT, reserve_tokens=reserved)
    config = femto.ModelConfig(
        tokenizer.vocab_size, num_tokens=8, embedding_degree=12, num_layers=2, num_heads=2, positional_encoding=positions
    )
    checkpoint = femto.create(config, tokenizer, femto.TrainConfig(batch_size=2, seed=1))
    list(femto.Session(checkpoint, femto.from_text("text", TEXT, tokenizer), path=None).run(steps))
    return checkpoint


@pytest.mark.parametrize(("positions", "num_tokens"), [("rotary", None), ("learned", 5), ("learned", 11), ("none", 11)])
def test_init_with_keeps_the_layers_and_begins_the_tokens_anew(positions, num_tokens):
    parent = trained(positions)
    tokenizer = BpeTokenizer.from_text(OTHER, 40)
    child = growth.init_with(parent, tokenizer, num_tokens, seed=7)
    assert child.model.config.num_tokens == (num_tokens or 8)
    assert child.model.tensors["token_embedding"].shape == (40, 12)
    fresh = femto.create(child.model.config, tokenizer, child.training, seed=7).model.tensors
    for name, tensor in child.model.tensors.items():
        old = parent.model.tensors[name]
        if name in ("token_embedding", "head_map_weights", "head_map_bias"):
            np.testing.assert_array_equal(tensor, fresh[name])
        elif name == "position_embedding":
            both = min(8, num_tokens)
            np.testing.assert_array_equal(tensor[:both], old[:both])
            np.testing.assert_array_equal(tensor[both:], fresh[name][both:])
        else:
            np.testing.assert_array_equal(tensor, old)
    assert child.optimizer is None
    assert child.history.num_steps == 0
    (entry,) = child.history.entries
    assert (entry["kind"], entry["parent"], entry["parent_steps"]) == ("init-with", parent.history.entries[-1]["id"], 3)


def test_a_child_is_saved_and_trains_on(tmp_path):
    child = growth.init_with(trained(), BpeTokenizer.from_text(OTHER, 30), seed=3)
    femto.save(child, tmp_path / "child.dat")
    loaded = femto.load(tmp_path / "child.dat")
    assert loaded.tokenizer == child.tokenizer
    dataset = femto.from_text("other", OTHER, loaded.tokenizer)
    steps = [event.loss for event in femto.Session(loaded, dataset, path=None).run(4) if isinstance(event, femto.Step)]
    assert len(steps) == 4
    assert np.isfinite(steps).all()


def test_renaming_changes_the_tokenizer_and_nothing_else(tmp_path):
    checkpoint = trained(reserved=2)
    parameters, moments = checkpoint.model.parameters_sha256, checkpoint.optimizer_sha256
    first = checkpoint.tokenizer.vocab_size - 2
    before = data.from_text("text", TEXT, checkpoint.tokenizer).ids
    assert growth.rename_token(checkpoint, "question") == first
    femto.save(checkpoint, tmp_path / "model.dat")
    loaded = femto.load(tmp_path / "model.dat")
    assert (loaded.model.parameters_sha256, loaded.optimizer_sha256) == (parameters, moments)
    assert loaded.history.entries[-1]["kind"] == "rename-token"
    assert loaded.history.entries[-1]["after"] == "question"
    after = data.from_text("text", TEXT, loaded.tokenizer).ids
    assert np.count_nonzero(after == first) == 40
    assert len(after) == len(before) - 40 * (len("question") - 1)
    assert femto.complete(loaded, "to be", 4)
