"""Training: exact resuming, independence of threads and of the split into micro-batches, learning, and guards."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femto import checkpoint, data, kernels, tokenizers
from femto.analysis.diagnosis import diagnose, find
from femto.config import BLOCKS, POSITIONAL_ENCODINGS, PRESETS, ModelConfig, TrainConfig
from femto.errors import CheckpointError, ConfigError, DataError, TrainingError
from femto.model import Graph, Model, activation_floats
from femto.optimizers.schedule import learning_rate
from femto.training import Trainer, evaluate
from femto.training.overfitting import best
from femto.training.partitioning import activation_bytes, partition
from femto.training.session import OutOfPatience, Saved, Session, Validation, best_path

TEXT = "the quick brown fox jumps over the lazy dog; " * 60


def new(training=None, preset="modern", **shape):
    tokenizer = tokenizers.build("char", TEXT)
    shape = {"num_tokens": 19, "embedding_degree": 20, "num_layers": 2, "num_heads": 2, **shape}
    config = ModelConfig(tokenizer.vocab_size, **shape, **PRESETS[preset].model)
    return checkpoint.create(config, tokenizer, training or TrainConfig(batch_size=6, seed=4), preset)


def dataset(made):
    return data.from_text("text", TEXT, made.tokenizer)


def train(made, steps):
    for _ in Session(made, dataset(made), None).run(steps):
        pass
    return made


def state(made):
    return made.model.parameters.tobytes(), made.optimizer.m.tobytes(), made.optimizer.v.tobytes()


SETTINGS = TrainConfig(batch_size=6, micro_batch_size=2, dropout=0.2, validation_split=0.2, decay_steps=20, seed=4)


@pytest.mark.parametrize("preset", PRESETS)
def test_any_division_into_sessions_gives_the_same_bytes(tmp_path, preset):
    whole = train(new(SETTINGS, preset), 12)
    parts = new(SETTINGS, preset)
    for steps in (5, 1, 6):
        train(parts, steps)
        checkpoint.save(parts, tmp_path / "model.dat")
        parts = checkpoint.load(tmp_path / "model.dat")
    assert state(parts) == state(whole)
    assert (parts.history.losses == whole.history.losses).all()
    assert len(parts.history.sessions()) == 3


def test_any_number_of_threads_gives_the_same_bytes():
    before = kernels.num_threads()
    try:
        states = []
        for threads in (1, 2, 5):
            kernels.set_num_threads(threads)
            # wide enough that the kernels really use their threads
            made = new(SETTINGS, num_tokens=64, embedding_degree=96, num_heads=4)
            states.append(state(train(made, 4)))
    finally:
        kernels.set_num_threads(before)
    assert states[0] == states[1] == states[2]


def test_micro_batches_do_the_same_mathematics():
    def parameters(size):
        settings = TrainConfig(batch_size=6, micro_batch_size=size, dropout=0.2, seed=4)
        return train(new(settings), 8).model.parameters

    assert np.abs(parameters(6) - parameters(1)).max() < 1e-5


def test_other_seeds_and_other_data_give_other_steps():
    losses = {seed: train(new(TrainConfig(batch_size=6, seed=seed)), 3).history.losses.tobytes() for seed in (1, 2)}
    assert losses[1] != losses[2]


def test_a_small_model_learns_a_sentence_by_heart():
    made = train(new(TrainConfig(batch_size=8, learning_rate=0.01, warmup_steps=10, decay_steps=140)), 150)
    assert made.history.losses[0] == pytest.approx(np.log(made.model.config.vocab_size), abs=0.5)
    assert made.history.losses[-10:].mean() < 0.35


def test_every_parameter_gets_a_gradient():
    made = train(new(), 1)
    for name, tensor in made.model.layout.views(made.optimizer.v).items():
        if name not in ("head_map_bias",) and not name.endswith("embedding"):
            assert (tensor != 0).mean() > 0.9, name


def test_a_number_that_is_not_finite_stops_before_the_update():
    made = train(new(), 2)
    made.model.tensors["feedforward1_1_weights"][0, 0] = np.inf
    before = state(made)
    with pytest.raises(TrainingError, match=r"step 3: tensor feedforward1_1_weights holds a number that is not finite"):
        train(made, 1)
    assert state(made) == before
    assert made.history.num_steps == 2


def test_clipping_scales_the_gradient_to_the_norm():
    free = train(new(TrainConfig(batch_size=6, clip_norm=0.0, warmup_steps=0)), 1)
    clipped = train(new(TrainConfig(batch_size=6, clip_norm=0.01, warmup_steps=0)), 1)
    norm = np.sqrt((clipped.optimizer.m.astype(np.float64) ** 2).sum()) / (1 - 0.9)
    assert norm == pytest.approx(0.01, rel=1e-4)
    cosine = (free.optimizer.m @ clipped.optimizer.m) / np.linalg.norm(free.optimizer.m) / np.linalg.norm(clipped.optimizer.m)
    assert cosine == pytest.approx(1.0, abs=1e-5)


def test_the_reference_schedule_is_the_logs():
    config = PRESETS["reference"].training
    rates = [learning_rate(step, config) for step in (0, 50, 100, 25_100, 50_100, 90_000)]
    assert rates == pytest.approx([0.0, 0.0005, 0.001, 0.000505, 0.00001, 0.00001])
    cosine = TrainConfig(learning_rate=1.0, min_learning_rate=0.0, warmup_steps=0, decay_steps=2, decay="cosine")
    assert [learning_rate(step, cosine) for step in range(3)] == pytest.approx([1.0, 0.5, 0.0])


def test_a_peak_below_the_minimum_never_rises():
    config = TrainConfig(learning_rate=1e-6, min_learning_rate=1e-3, warmup_steps=0, decay_steps=5)
    assert [learning_rate(step, config) for step in (0, 3, 9)] == pytest.approx([1e-6] * 3)


def test_a_session_that_is_closed_early_saves(tmp_path):
    made = new()
    events = Session(made, dataset(made), str(tmp_path / "model.dat"), save_every=100).run(50)
    for _ in range(3):
        next(events)
    events.close()
    assert checkpoint.load(tmp_path / "model.dat").history.num_steps == 3


def test_batches_are_windows_of_the_text_that_wrap_round_its_end():
    ids = np.arange(10, dtype=np.int32)
    inputs, targets = data.batch(ids, step=3, batch_size=500, num_tokens=4, seed=1)
    assert ((inputs + 1) % 10 == targets).all()
    assert set(inputs[:, 0].tolist()) == set(range(10)), "every start occurs"
    again = data.batch(ids, step=3, batch_size=500, num_tokens=4, seed=1)
    other = data.batch(ids, step=4, batch_size=500, num_tokens=4, seed=1)
    assert (again[0] == inputs).all()
    assert (other[0] != inputs).any()


def test_evaluation_predicts_every_token_but_the_first_once():
    made = new()
    ids = dataset(made).ids[:100]
    result = evaluate(made.model, ids, made.tokenizer)
    assert result.num_predictions == 99
    assert result.num_bytes == 99
    assert result.nats == pytest.approx(np.log(made.model.config.vocab_size), abs=0.1)
    assert result.bits_per_byte == pytest.approx(result.nats / np.log(2))
    inputs, targets = data.consecutive_windows(np.arange(100, dtype=np.int32), 19)
    assert targets[targets >= 0].tolist() == list(range(1, 100))
    assert (inputs + 1 == targets)[targets >= 0].all()


def test_a_session_validates_on_the_held_out_part_and_saves_at_the_end(tmp_path):
    made = new(TrainConfig(batch_size=4, validation_split=0.25))
    path = tmp_path / "model.dat"
    events = list(Session(made, dataset(made), str(path), save_every=3, validate_every=2).run(7))
    assert [e.step for e in events if isinstance(e, Validation)] == [2, 4, 6, 7]
    assert [e.step for e in events if isinstance(e, Saved)] == [3, 6, 7]
    assert checkpoint.load(path).history.num_steps == 7
    training, validation = data.split(np.arange(100, dtype=np.int32), 0.25)
    assert (len(training), len(validation), validation[0]) == (75, 25, 75)


def test_memory_of_a_micro_batch_is_bounded():
    large = ModelConfig(1054, 80, 768, 8, 16)
    size = partition(large, TrainConfig(parts=1)).micro_batch_size
    assert size == 16
    assert activation_bytes(large) * size < 590e6
    assert partition(ModelConfig(257), TrainConfig(batch_size=32, parts=1)).micro_batch_size == 32


@given(
    head_size=st.integers(1, 30),
    heads=st.integers(1, 6),
    layers=st.integers(1, 5),
    vocab_size=st.integers(1, 900),
    tokens=st.integers(1, 20),
    block=st.sampled_from(BLOCKS),
    positions=st.sampled_from(POSITIONAL_ENCODINGS),
)
@settings(max_examples=60)
def test_a_dry_run_counts_what_a_graph_takes(head_size, heads, layers, vocab_size, tokens, block, positions):
    d = head_size * heads
    config = ModelConfig(vocab_size, tokens, d, layers, heads, block, positions)
    counted = activation_floats(config)
    assert Graph(Model(config), 2, tokens, training=True).workspace.floats == 2 * tokens * counted
    assert counted + d - 3 == layers * (16 * d + 2 * heads + 4) + 15 * d + vocab_size  # numerics 1 splits batches by this


def test_one_part_is_split_as_it_always_was():
    def first_rule(config, batch):
        d, heads = config.embedding_degree, config.num_heads
        floats = config.num_layers * (16 * d + 2 * heads + 4) + 15 * d + config.vocab_size
        fitting = max(1, (560 << 20) // (4 * config.num_tokens * floats))
        return max(size for size in range(1, batch + 1) if batch % size == 0 and size <= fitting)

    sizes = set()
    for config in (ModelConfig(257, t, d, layers, 4) for t in (80, 1024) for d in (64, 768, 1600) for layers in (4, 12, 48)):
        for batch in (16, 24, 32):
            size = partition(config, TrainConfig(batch_size=batch, parts=1)).micro_batch_size
            sizes.add(size)
            assert size == first_rule(config, batch)
    assert len(sizes) > 8


def test_too_little_data_is_refused():
    made = new()
    with pytest.raises(DataError, match="at least 2"):
        Session(made, data.from_text("text", "t", made.tokenizer), None)
    with pytest.raises(DataError, match="validation split"):
        data.split(np.arange(5, dtype=np.int32), 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_degree": 30, "num_heads": 4}, "must be a multiple of the number of heads"),
        ({"num_layers": 0}, "num_layers must be"),
        ({"num_tokens": 10**9}, "num_tokens must be"),
        ({"block": "post-norm"}, "block must be one of"),
    ],
)
def test_contradictory_shapes_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(100, **changes)


@pytest.mark.parametrize("changes", [{"dropout": 1.0}, {"micro_batch_size": 5}, {"learning_rate": float("nan")}, {"seed": -1}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        TrainConfig(**changes)


def test_trainer_needs_no_session_to_step():
    made = new()
    trainer = Trainer(made, dataset(made).ids)
    assert [step.step for step in trainer.steps(2)] == [1, 2]


LITTLE = "".join(random.Random(1).choices("abcdefgh", k=600))  # of which nothing can be learnt but by heart


def overfitted(path, steps, **options):
    """A session on so little text that it is learnt by heart; its validations."""
    if path.exists():
        made = checkpoint.load(path)
    else:
        made = new(TrainConfig(batch_size=8, seed=4, validation_split=0.3, learning_rate=0.01, decay_steps=4000), num_tokens=8)
        made.tokenizer = tokenizers.build("byte", None)
        config = ModelConfig(256, num_tokens=8, embedding_degree=32, num_layers=1, num_heads=2)
        made = checkpoint.create(config, made.tokenizer, made.training)
    text = data.from_text("text", LITTLE, made.tokenizer)
    return made, list(Session(made, text, str(path), validate_every=20, **options).run(steps))


def test_the_best_validation_is_kept_told_and_found_and_patience_ends_the_run_across_sessions(tmp_path):
    path = tmp_path / "model.dat"
    made, events = overfitted(path, 400, best_path=best_path(str(path)))
    validations = [event for event in events if isinstance(event, Validation)]
    losses = [event.loss.nats for event in validations]
    assert made.history.validations() == [(event.step, event.loss.nats) for event in validations]
    lowest = losses.index(min(losses))
    assert 0 < lowest < len(losses) - 3 and [event.is_best for event in validations] == [
        loss < min([9e9, *losses[:place]]) for place, loss in enumerate(losses)
    ]
    told = [event.overfitting for event in validations if event.overfitting]
    assert len(told) == 1 and told[0].best_step == validations[lowest].step
    kept, last = checkpoint.load(tmp_path / "model.best.dat"), checkpoint.load(path)
    assert kept.history.num_steps == validations[lowest].step and last.history.num_steps == 400
    assert last.history.validations() == made.history.validations()
    held = data.split(data.from_text("text", LITTLE, kept.tokenizer).ids, 0.3)[1]
    assert evaluate(kept.model, held, kept.tokenizer).nats == pytest.approx(min(losses), rel=1e-6)
    codes = [finding.code for finding in find(diagnose(last, data.from_text("text", LITTLE, last.tokenizer)))]
    assert "overfitting" in codes

    again = tmp_path / "again.dat"
    overfitted(again, validations[lowest].step + 20)
    patient, events = overfitted(again, 400, patience=3)
    ended = [event for event in events if isinstance(event, OutOfPatience)]
    assert [event.step for event in ended] == [validations[lowest].step + 60] == [patient.history.num_steps]
    assert checkpoint.load(again).history.num_steps == patient.history.num_steps


def test_a_copy_replaces_no_file_that_is_no_model_and_a_best_that_was_not_kept_is_told(tmp_path):
    path = tmp_path / "model.dat"
    for name, options in (("model.best.dat", {"best_path": best_path(str(path))}), ("model-40.dat", {"snapshot_every": 20})):
        (tmp_path / name).write_text("mine")
        with pytest.raises(CheckpointError, match=f"{name} is there and is no femto model"):
            overfitted(path, 60, **options)
        assert (tmp_path / name).read_text() == "mine" and not path.exists()
        (tmp_path / name).unlink()
    for name in ("model-50.dat", "model-80.dat", "other-40.dat"):  # no copy of this run has such a name
        (tmp_path / name).write_text("mine")
    made, _ = overfitted(path, 60, snapshot_every=20)
    assert checkpoint.load(tmp_path / "model-40.dat").history.num_steps == 40
    assert {(tmp_path / name).read_text() for name in ("model-50.dat", "model-80.dat", "other-40.dat")} == {"mine"}
    text = data.from_text("text", LITTLE, made.tokenizer)
    with pytest.raises(CheckpointError, match=r"model-80\.dat is there and is no femto model"):  # at once
        next(Session(made, text, str(path), snapshot_every=1).run(4_000_000_000))
    step, loss = best(made.history)
    (note,) = Session(made, text, str(path), best_path="gone.dat").notes()
    assert note.startswith(f"gone.dat is not there: the best validation so far, {loss:.4f} at step {step}, was not kept")
    made.training = replace(made.training, validation_split=0.2)
    assert not any("gone.dat" in note for note in Session(made, text, str(path), best_path="gone.dat").notes())
    (tmp_path / "model.best.dat").write_bytes(path.read_bytes())
    made, _ = overfitted(path, 20, best_path=best_path(str(path)))  # a model is replaced
    assert made.history.num_steps == 80


def test_validations_of_another_text_or_part_are_no_measure_and_of_many_the_best_stays(tmp_path):
    history = new().history
    history.start_session(dataset={"name": "a", "sha256": "1", "bytes": 1}, training={"validation_split": 0.1})
    for step in range(3000):
        history.add_step(1.0, 1.0)
        history.add_validation(1.0 + abs(step - 777) / 1e4)
    assert 256 <= len(history.validations()) <= 512
    assert min(history.validations(), key=lambda pair: pair[1]) == (778, 1.0) and history.validations()[-1][0] == 3000
    history.add_validation(float("nan"))
    assert history.validations()[-1][0] == 3000 and history.validations()[-1][1] < 9
    history.start_session(dataset={"name": "a", "sha256": "1", "bytes": 1}, training={"validation_split": 0.2})
    history.add_step(1.0, 1.0)
    assert history.validations() == []


def test_snapshots_stay_and_go_on_to_the_same_bytes(tmp_path):
    made = new(TrainConfig(batch_size=6, seed=4, decay_steps=50))
    list(Session(made, dataset(made), str(tmp_path / "model.dat"), snapshot_every=4).run(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-4.dat", "model-8.dat", "model.dat"]
    snapshot = checkpoint.load(tmp_path / "model-8.dat")
    train(snapshot, 2)
    assert snapshot.model.parameters_sha256 == made.model.parameters_sha256


def test_a_stop_at_the_step_of_a_snapshot_loses_none_and_a_strangers_name_cannot_command_a_terminal(tmp_path):
    made = new(TrainConfig(batch_size=6, seed=4, decay_steps=50))
    stopped = Session(made, dataset(made), str(tmp_path / "model.dat"), snapshot_every=4)
    list(stopped.run(10, stop=lambda: made.history.num_steps == 4))
    assert checkpoint.load(tmp_path / "model-4.dat").model.parameters_sha256 == made.model.parameters_sha256
    last = made.history.entries[-1]
    last["dataset"] = {"name": "\x1b[2J", "sha256": "other", "bytes": 1}
    last["training"]["validation_split"] = -(10**400)
    (note,) = Session(made, dataset(made), None).notes()
    assert note == "the last session trained on \\x1b[2J; text is another text"
