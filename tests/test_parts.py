"""A batch in parts: the same mathematics, and the same bytes whatever the threads."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femto import checkpoint, config, data, kernels, tokenizers
from femto.checkpoint import Checkpoint
from femto.config import PARTS, ModelConfig, TrainConfig
from femto.errors import ConfigError
from femto.model import Graph, Model
from femto.model.linear import Pass
from femto.model.parts import Parts
from femto.training import Trainer
from femto.training.partitioning import (
    FEWEST_ROWS,
    GRADIENT_SHARE,
    MOST_PARTS,
    MOST_ROWS,
    Partition,
    activation_bytes,
    partition,
)

TEXT = "the quick brown fox jumps over the lazy dog; " * 60
TOKENIZER = tokenizers.build("char", TEXT)
IDS = data.from_text("text", TEXT, TOKENIZER).ids
SHAPE = ModelConfig(TOKENIZER.vocab_size, 10, 24, 2, 3)


@pytest.fixture(autouse=True)
def _threads():
    before = kernels.num_threads()
    yield
    kernels.set_num_threads(before)


def made(training: TrainConfig, shape: ModelConfig = SHAPE) -> Checkpoint:
    return checkpoint.create(shape, TOKENIZER, training, "modern")


def trained(training: TrainConfig, steps: int = 4) -> str:
    """The bytes of a model and of its optimiser's state after so many steps, as one digest."""
    new = made(training)
    list(Trainer(new, IDS).steps(steps))
    return new.model.parameters_sha256 + new.optimizer_sha256


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
@pytest.mark.parametrize("micro", [0, 1, 2])
def test_the_bytes_do_not_depend_on_threads(parts, micro):
    training = TrainConfig(batch_size=16, parts=parts, micro_batch_size=micro, dropout=0.2, seed=3)
    found = set()
    for threads in (1, 2, 3, 5, 8, 17):
        kernels.set_num_threads(threads)
        found.add(trained(training))
    assert len(found) == 1


def test_threads_may_change_between_steps():
    training = TrainConfig(batch_size=16, parts=4, dropout=0.1, seed=3)
    kernels.set_num_threads(3)
    new = made(training)
    trainer = Trainer(new, IDS)
    for threads in (1, 2, 4, 1, 7):
        kernels.set_num_threads(threads)
        trainer.step()
    assert new.model.parameters_sha256 + new.optimizer_sha256 == trained(training, 5)


@given(
    windows=st.integers(1, 3), parts=st.sampled_from(PARTS[:5]), workers=st.integers(1, 4), dropout=st.sampled_from([0.0, 0.3]),
    block=st.sampled_from(config.BLOCKS), positions=st.sampled_from(config.POSITIONAL_ENCODINGS),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_parts_do_the_same_mathematics_as_the_whole(windows, parts, workers, dropout, block, positions):
    shape = replace(SHAPE, block=block, positional_encoding=positions)
    model, batch = Model(shape).initialize(1), windows * parts
    tokens, targets = data.batch(IDS, 7, batch, shape.num_tokens, 5)
    whole = Graph(model, batch, shape.num_tokens, training=True)
    total = whole.accumulate_gradients(tokens, targets, Pass(shape.num_tokens, dropout, 9, 7), 1.0 / tokens.size)
    for micro in {1, windows}:
        cut = Parts(model, batch, parts, micro, workers, dropout, 9)
        for _ in range(2):  # nothing of the first is left in the second
            losses = cut.compute(tokens, targets, 7)
        assert losses.shape == tokens.shape
        np.testing.assert_allclose(losses.sum(dtype=np.float64), total, rtol=1e-6)
        scale = np.abs(whole.gradients).max()
        np.testing.assert_allclose(cut.gradients / scale, whole.gradients / scale, atol=3e-6)


def test_the_gradient_is_the_tree_of_the_parts_own():
    model = Model(SHAPE).initialize(1)
    tokens, targets = data.batch(IDS, 0, 8, SHAPE.num_tokens, 5)
    own = []
    for part in range(4):
        graph = Graph(model, 2, SHAPE.num_tokens, training=True)
        rows = slice(2 * part, 2 * part + 2)
        graph.accumulate_gradients(tokens[rows], targets[rows], Pass(SHAPE.num_tokens, 0.1, 9, 0, 2 * part), 1.0 / tokens.size)
        own.append(graph.gradients)
    cut = Parts(model, 8, 4, 2, 2, 0.1, 9)
    cut.compute(tokens, targets, 0)
    np.testing.assert_array_equal(cut.gradients, (own[0] + own[1]) + (own[2] + own[3]))


def test_what_is_recorded_does_not_grow_with_the_batch():
    few, many = (Parts(Model(SHAPE), batch, 2, 1, 2) for batch in (4, 4000))
    assert [[len(tape) for tape in tapes] for tapes in few._tapes] == [[len(tape) for tape in tapes] for tapes in many._tapes]


def test_groups_of_a_part_that_are_computed_in_turn_have_the_gradient_of_those_computed_at_once():
    model, found = Model(SHAPE).initialize(1), []
    tokens, targets = data.batch(IDS, 0, 24, SHAPE.num_tokens, 5)
    for part in range(2):
        graph = Graph(model, 3, SHAPE.num_tokens, training=True)
        for first in range(12 * part, 12 * (part + 1), 3):
            rows, run = slice(first, first + 3), Pass(SHAPE.num_tokens, 0.2, 9, 4, first)
            graph.accumulate_gradients(tokens[rows], targets[rows], run, 1.0 / tokens.size)
        found.append(graph.gradients)
    cut = Parts(model, 24, 2, 3, 2, 0.2, 9)
    for step in (3, 4):
        cut.compute(tokens, targets, step)
    np.testing.assert_array_equal(cut.gradients, found[0] + found[1])


@given(
    batch=st.integers(1, 300), tokens=st.integers(1, 700), d=st.sampled_from([8, 80, 400]), micro=st.sampled_from([0, 0, 1, 3])
)
@settings(max_examples=100, deadline=None)
def test_a_batch_is_cut_by_its_shapes(batch, tokens, d, micro):
    if micro and batch % micro:
        micro = 0
    shape, training = ModelConfig(100, tokens, d, 2, 4), TrainConfig(batch_size=batch, micro_batch_size=micro)
    cut = partition(shape, training)
    assert cut.parts in PARTS and cut.parts <= MOST_PARTS
    assert batch % (cut.parts * cut.micro_batch_size) == 0 and (not micro or cut.micro_batch_size == micro)
    if cut.parts > 2:
        assert batch // cut.parts * tokens >= FEWEST_ROWS
    if cut.parts > 1 and not micro:
        assert cut.micro_batch_size == 1 or cut.micro_batch_size * tokens <= MOST_ROWS
        gradient = 4 * Model(shape).layout.size
        assert (cut.parts - 1) * gradient <= GRADIENT_SHARE * (4 * gradient + MOST_ROWS / tokens * activation_bytes(shape))
    with_parts = partition(shape, replace(training, parts=cut.parts))
    assert with_parts == cut


def test_large_models_are_not_cut():
    large = ModelConfig(1054, 80, 768, 8, 16)
    assert partition(large, TrainConfig(batch_size=32)) == Partition(1, 16)
    assert partition(ModelConfig(257), TrainConfig(batch_size=32)).parts == 8


def test_workers_are_as_many_as_threads_until_threads_are_better_inside_the_kernels():
    for threads, parts, workers in (
        (1, 8, 1),
        (2, 8, 2),
        (8, 8, 8),
        (15, 8, 8),
        (16, 8, 1),
        (2, 1, 1),
        (2, 2, 2),
        (3, 2, 2),
        (4, 2, 1),
    ):
        kernels.set_num_threads(threads)
        assert Partition(parts, 1).workers() == workers


def test_files_that_were_made_before_there_were_parts_have_one():
    settings = config.to_json(TrainConfig())
    assert settings.pop("parts") == 0
    assert config.from_json(TrainConfig, json.loads(json.dumps(settings))).parts == 1


@pytest.mark.parametrize("changes", [{"parts": 3}, {"parts": 128}, {"parts": -1}, {"parts": 16, "batch_size": 8}, {"parts": True},
                                     {"parts": 2, "batch_size": 6, "micro_batch_size": 6}])  # fmt: skip
def test_parts_that_do_not_fit_are_refused(changes):
    with pytest.raises(ConfigError, match=r"parts must be auto \(or 0\), or 1, 2, 4 … 64 and divide"):
        TrainConfig(**changes)
