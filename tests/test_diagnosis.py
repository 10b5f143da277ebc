"""`femto diagnose`: what it measures against NumPy, each finding on a model made sick in that one way, and the command."""

import copy
import json
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from click.testing import CliRunner

from femto import checkpoint, data, tokenizers
from femto.analysis.diagnosis import diagnose, find, known_data
from femto.analysis.diagnosis.known_data import KnownData, Stage
from femto.analysis.diagnosis.measure import BATCHES, position_buckets
from femto.commands import main
from femto.config import ModelConfig, TrainConfig
from femto.dummy_data import addition_dummy, simple_dummy, simple_dummy2, simple_sequence, simple_sequence2
from femto.errors import ConfigError, DataError
from femto.model import Graph
from femto.model.linear import Pass
from femto.training.session import Session
from femto.training.trainer import Step

from . import numpy_model

TEXT = "".join(f"{word};\n" for word in simple_dummy.words(Random(3), 400))
TRAINING = TrainConfig(batch_size=16, learning_rate=0.01, warmup_steps=10, decay_steps=400, seed=2)


def trained(steps=120, training=TRAINING, **shape):
    tokenizer = tokenizers.build("char", TEXT)
    settings = {"num_tokens": 16, "embedding_degree": 16, "num_layers": 2, "num_heads": 2, **shape}
    made = checkpoint.create(ModelConfig(tokenizer.vocab_size, **settings), tokenizer, training)
    for _ in Session(made, dataset(made), None).run(steps):
        pass
    return made


def dataset(made, text=TEXT):
    return data.from_text("text", text, made.tokenizer)


def codes(made, text=TEXT):
    return [finding.code for finding in find(diagnose(made, dataset(made, text)))]


@pytest.fixture(scope="module")
def pre_norm():
    return trained()


@pytest.fixture(scope="module")
def reference_block():
    return trained(block="reference", positional_encoding="absolute")


@pytest.fixture
def healthy(pre_norm):
    return duplicate(pre_norm)


def duplicate(made):
    """A copy whose tensors are views of its own parameters."""
    other = checkpoint.create(made.model.config, made.tokenizer, made.training)
    other.model.parameters[...] = made.model.parameters
    other.history = copy.deepcopy(made.history)
    optimizer = other.ready_optimizer()
    optimizer.m[...], optimizer.v[...], optimizer.step = made.optimizer.m, made.optimizer.v, made.optimizer.step
    return other


# --- findings ---------------------------------------------------------------------------------------------------------------


def small_gains(made):
    for name, tensor in made.model.tensors.items():
        if name.endswith("_coeff"):
            tensor *= 0.02


def uniform_attention(made):
    for name, tensor in made.model.tensors.items():
        if name.endswith(("_q", "_k")):
            tensor *= 0.0


def dead_units(made):
    made.model.tensors["feedforward1_1_bias"][:20] = -30.0


def low_rate(made):
    made.training = replace(made.training, learning_rate=1e-6, min_learning_rate=1e-7)


def high_rate(made):
    made.training = replace(made.training, learning_rate=1.0, min_learning_rate=0.9)


def dropout(made):
    made.training = replace(made.training, dropout=0.8)


def in_warmup(made):
    made.optimizer.step = 3


def above_uniform(made):
    made.model.tensors["head_map_weights"][...] *= -1.0


def above_unigram(made):
    made.model.tensors["head_map_weights"][...] = 0.0
    made.model.tensors["head_map_bias"][...] = 0.05 * frequencies(made)


def unigram(made):
    made.model.tensors["head_map_weights"][...] = 0.0
    made.model.tensors["head_map_bias"][...] = frequencies(made)


def frequencies(made):
    counts = np.bincount(dataset(made).ids, minlength=made.model.config.vocab_size)
    return np.log(np.maximum(counts, 0.01) / counts.sum())


def nan_weight(made):
    made.model.tensors["proj_1_weights"][3, 2] = np.nan


def overflow(made):
    made.model.tensors["head_map_weights"][...] = 1e38


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (small_gains, "small_norm_gains"),
        (uniform_attention, "uniform_attention"),
        (dead_units, "dead_gelu_units"),
        (low_rate, "small_updates"),
        (high_rate, "large_updates"),
        (dropout, "dropout_cost"),
        (in_warmup, "warm_up"),
        (above_uniform, "loss_above_uniform"),
        (above_unigram, "loss_above_unigram"),
        (unigram, "unigram_plateau"),
        (unigram, "no_use_of_context"),
        (nan_weight, "not_finite_weights"),
        (overflow, "not_finite_gradients"),
    ],
)
def test_a_sick_model_is_found_and_its_healthy_twin_is_not(healthy, spoil, code):
    assert codes(healthy) == []
    spoil(healthy)
    assert code in codes(healthy)


def test_unknown_tokens(healthy):
    assert "unknown_tokens" in codes(healthy, TEXT.replace("a", "Ä", 60))


def test_vanishing_gradient(reference_block):
    sick = duplicate(reference_block)
    assert codes(sick) == []
    sick.model.tensors["proj_1_bias"][::2] = 500.0
    assert "vanishing_gradient" in codes(sick)


def test_positional_table_that_drowns_the_embeddings(reference_block):
    sick = duplicate(reference_block)
    sick.model.tensors["token_embedding"][...] *= 0.05
    found = {finding.code: finding for finding in find(diagnose(sick, dataset(sick)))}
    assert found["positional_table_drowns_embeddings"].numbers["ratio"] > 10


def test_known_plateau_only_where_training_has_stopped(healthy):
    healthy_diagnosis = diagnose(healthy, dataset(healthy))
    known = KnownData("a set", 0.5, (Stage(healthy_diagnosis.data.loss * 1.01, "a part"),))
    stuck = replace(
        healthy_diagnosis,
        data=replace(healthy_diagnosis.data, known=known),
        training=replace(healthy_diagnosis.training, recent_loss=1.5, earlier_loss=1.51),
    )
    assert [finding.code for finding in find(stuck)] == ["known_plateau"]
    falling = replace(stuck, training=replace(stuck.training, earlier_loss=1.6))
    assert find(falling) == []


def test_the_learning_rate_is_blamed_for_small_updates_only_if_they_are_small_everywhere(healthy):
    low_rate(healthy)
    (everywhere,) = find(diagnose(healthy, dataset(healthy)))
    assert "--learning-rate" in everywhere.advice
    diagnosis = diagnose(healthy, dataset(healthy))
    upper = replace(diagnosis.layers[1], update_to_weight=1e-3)
    (below,) = find(replace(diagnosis, layers=[diagnosis.layers[0], upper]))
    assert "--learning-rate" not in below.advice


def test_small_gradients_are_blamed_on_epsilon(healthy):
    healthy.training = replace(healthy.training, epsilon=1.0)
    (finding,) = find(diagnose(healthy, dataset(healthy)))
    assert finding.code == "small_updates"
    assert "epsilon" in finding.message


# --- measures ---------------------------------------------------------------------------------------------------------------

SIGNALS = ("input", "norm", "middle", "atten_norm", "output")


def numpy_pass(config, p, tokens, targets, added=None):
    """Mean loss, and every signal, in float64; `added` maps (layer, name) to what is added to that signal."""
    added, seen = added or {}, {}

    def see(layer, name, x):
        seen[layer, name] = x + added.get((layer, name), 0.0)
        return seen[layer, name]

    def norm(x, name):
        return numpy_model.layer_norm(x, p[f"{name}_coeff"], p[f"{name}_bias"])

    h = p["token_embedding"][tokens]
    if config.positional_encoding == "absolute":
        h = h + numpy_model.sinusoids(config.num_tokens, config.embedding_degree)
    for layer in range(config.num_layers):
        pre_norm = config.block == "pre-norm"
        h = see(layer, "input", h)
        n = see(layer, "norm", norm(h, f"norm_{layer}"))
        branch = numpy_model.attention(config, p, layer, n, 1.0) @ p[f"proj_{layer}_weights"] + p[f"proj_{layer}_bias"]
        middle = see(layer, "middle", (h if pre_norm else n) + see(layer, "attention", branch))
        m = see(layer, "atten_norm", norm(middle, f"atten_norm_{layer}"))
        inner = see(layer, "inner", m @ p[f"feedforward1_{layer}_weights"] + p[f"feedforward1_{layer}_bias"])
        branch = numpy_model.gelu(inner) @ p[f"feedforward2_{layer}_weights"] + p[f"feedforward2_{layer}_bias"]
        h = see(layer, "output", (middle if pre_norm else m) + see(layer, "feedforward", branch))
    logits = norm(h, "head_norm") @ p["head_map_weights"] + p["head_map_bias"]
    seen["logits"] = logits
    log_p = logits - logits.max(-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    seen["losses"] = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    return seen


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


def batches(made):
    config, training, first = made.model.config, made.training, made.history.num_steps
    steps = range(first, first + BATCHES)
    parts = [data.batch(dataset(made).ids, step, training.batch_size, config.num_tokens, training.seed) for step in steps]
    return (np.concatenate(part) for part in zip(*parts, strict=True))


@pytest.fixture(scope="module", params=["pre-norm", "reference"])
def tiny(request):
    positions = "rotary" if request.param == "pre-norm" else "absolute"
    training = replace(TRAINING, batch_size=1)
    made = trained(30, training, block=request.param, positional_encoding=positions, num_tokens=5, embedding_degree=6)
    tokens, targets = batches(made)
    parameters = {name: tensor.astype(np.float64) for name, tensor in made.model.tensors.items()}
    return made, parameters, tokens, targets, diagnose(made, dataset(made))


def test_signals_are_those_of_numpy(tiny):
    made, parameters, tokens, targets, diagnosis = tiny
    seen = numpy_pass(made.model.config, parameters, tokens, targets)
    for layer in diagnosis.layers:
        for name in SIGNALS:
            assert getattr(layer, name).rms == pytest.approx(rms(seen[layer.layer, name]), rel=1e-5)
        assert layer.attention_rms == pytest.approx(rms(seen[layer.layer, "attention"]), rel=1e-4)
        assert layer.feedforward_rms == pytest.approx(rms(seen[layer.layer, "feedforward"]), rel=1e-4)
        gain = parameters[f"norm_{layer.layer}_coeff"]
        expected = (gain.mean(), gain.min(), gain.max(), rms(gain))
        assert (layer.norm_gains.mean, layer.norm_gains.min, layer.norm_gains.max, layer.norm_gains.rms) == pytest.approx(
            expected
        )
    logits = seen["logits"]
    assert diagnosis.embedding.rms == pytest.approx(rms(parameters["token_embedding"][tokens]), rel=1e-5)
    assert diagnosis.output.weights_rms == pytest.approx(rms(parameters["head_map_weights"]), rel=1e-5)
    assert diagnosis.output.logits_std == pytest.approx(rms(logits[:1] - logits[:1].mean(-1, keepdims=True)), rel=1e-4)


def test_gradients_are_those_of_numpy(tiny):
    made, parameters, tokens, targets, diagnosis = tiny
    shape = (*tokens.shape, made.model.config.embedding_degree)
    for name in SIGNALS:
        gradient, step = np.zeros(shape), 1e-5
        for sequence, place, column in np.ndindex(shape):
            difference = 0.0
            for sign in (1, -1):
                change = np.zeros((1, *shape[1:]))
                change[0, place, column] = sign * step
                row = slice(sequence, sequence + 1)
                seen = numpy_pass(made.model.config, parameters, tokens[row], targets[row], {(0, name): change})
                difference += sign * seen["losses"].sum()
            gradient[sequence, place, column] = difference / (2 * step)
        assert getattr(diagnosis.layers[0], name).gradient_rms == pytest.approx(rms(gradient), rel=1e-3), name


def test_losses_are_those_of_numpy(tiny):
    made, parameters, tokens, targets, diagnosis = tiny
    losses = numpy_pass(made.model.config, parameters, tokens, targets)["losses"]
    ids, measured = dataset(made).ids, diagnosis.data
    shares = np.bincount(ids, minlength=made.model.config.vocab_size) / len(ids)
    frequency_losses = -np.log(np.maximum(shares, 1e-9))[targets]
    assert measured.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert measured.frequency_loss == pytest.approx(frequency_losses.mean())
    assert measured.unigram_entropy == pytest.approx(-sum(share * math.log(share) for share in shares if share))
    assert measured.uniform_loss == math.log(made.model.config.vocab_size)
    assert [(bucket.first, bucket.last) for bucket in measured.by_position] == [(1, 1), (2, 3), (4, 5)]
    assert measured.by_position[1].loss == pytest.approx(losses[:, 1:3].mean(), rel=1e-5)
    assert measured.advantage_late == pytest.approx((frequency_losses - losses)[:, 2:].mean(), rel=1e-4)


def test_attention_is_that_of_numpy(tiny):
    made, parameters, tokens, targets, diagnosis = tiny
    config = made.model.config
    n = numpy_pass(config, parameters, tokens, targets)[1, "norm"][:1]  # of one sequence: as many as a micro-batch has
    for head, report in enumerate(diagnosis.layers[1].heads):
        q, k = (n[0] @ parameters[f"head_1_{head}_{letter}"] for letter in "qk")
        if config.positional_encoding == "rotary":
            q, k = numpy_model.rotate(q, config.rotary_base), numpy_model.rotate(k, config.rotary_base)
        entropies, distances = [], []
        for query in range(1, config.num_tokens):
            scores = np.exp(q[query] @ k[: query + 1].T / math.sqrt(config.head_size))
            p = scores / scores.sum()
            entropies.append(-(p * np.log(p)).sum() / math.log(query + 1))
            distances.append((p * (query - np.arange(query + 1))).sum())
        assert report.entropy == pytest.approx(np.mean(entropies), rel=1e-4)
        assert report.distance == pytest.approx(np.mean(distances), rel=1e-4)


def test_updates_are_those_of_adamw_in_numpy(tiny):
    made, _, tokens, targets, diagnosis = tiny
    layout, training, state = made.model.layout, made.training, made.optimizer
    graph = Graph(made.model, len(tokens), tokens.shape[1], training=True)
    graph.accumulate_gradients(tokens, targets, Pass(tokens.shape[1]), 1.0 / tokens.size)
    gradients = graph.gradients.astype(np.float64)
    gradients *= min(1.0, training.clip_norm / np.linalg.norm(gradients))
    m = training.beta1 * state.m + (1 - training.beta1) * gradients
    v = training.beta2 * state.v + (1 - training.beta2) * gradients**2
    corrected = m / (1 - training.beta1 ** (state.step + 1)), v / (1 - training.beta2 ** (state.step + 1))
    rate = diagnosis.training.learning_rate
    change = rate * corrected[0] / (np.sqrt(corrected[1]) + training.epsilon)
    changes, weights = layout.stored(change), layout.stored(made.model.parameters)
    for name in ("token_embedding", "proj_1_weights", "norm_0_coeff"):
        assert diagnosis.updates[name] == pytest.approx(rms(changes[name]) / rms(weights[name]), rel=1e-2)
    names = ("heads_1_qkv", "proj_1_weights", "feedforward1_1_weights", "feedforward2_1_weights")
    squares = [sum(np.sum(np.square(part[name], dtype=np.float64)) for name in names) for part in (changes, weights)]
    assert diagnosis.layers[1].update_to_weight == pytest.approx(math.sqrt(squares[0] / squares[1]), rel=1e-2)


def test_dead_units_are_counted_over_all_batches(healthy):
    healthy.model.tensors["feedforward1_0_bias"][:16] = -30.0
    assert diagnose(healthy, dataset(healthy)).layers[0].dead_gelu_share == 16 / 64


def test_measures_do_not_depend_on_the_micro_batch(healthy, monkeypatch):
    whole = diagnose(healthy, dataset(healthy))
    monkeypatch.setattr("femto.training.partitioning.ACTIVATION_BYTES", 1)
    parts = diagnose(healthy, dataset(healthy))
    assert parts.data.loss == pytest.approx(whole.data.loss)
    for one, other in zip(parts.layers, whole.layers, strict=True):
        assert one.output.gradient_rms == pytest.approx(other.output.gradient_rms, rel=1e-5)
        assert one.update_to_weight == pytest.approx(other.update_to_weight, rel=1e-3)


@pytest.mark.parametrize("split", [0.0, 0.4])
def test_the_batches_are_those_of_the_next_steps(healthy, split):
    """Steps at a learning rate of 0 see the same model at each batch."""
    still = replace(healthy.training, validation_split=split, learning_rate=0.0, min_learning_rate=0.0)
    made = replace(duplicate(healthy), training=still)
    half = len(TEXT) // 2
    text = dataset(made, TEXT[:half] + TEXT[half:].upper())  # the held-out part, <unk>, has another loss
    measured = diagnose(made, text).data.loss
    steps = [event for event in Session(made, text, None).run(BATCHES) if isinstance(event, Step)]
    assert measured == pytest.approx(np.mean([step.loss for step in steps]), rel=1e-6)


def test_nothing_changes_and_the_same_is_measured_again(healthy):
    def state():
        return healthy.model.parameters_sha256, healthy.optimizer_sha256, healthy.optimizer.step, healthy.history.num_steps

    before = state()
    assert diagnose(healthy, dataset(healthy)) == diagnose(healthy, dataset(healthy))
    assert state() == before


def test_a_warm_up_that_begins_at_the_highest_rate_is_no_finding(healthy):
    healthy.training = replace(healthy.training, warmup_steps=10_000, run_rate=0.5 * healthy.training.learning_rate)
    healthy.training = replace(healthy.training, run_start=healthy.optimizer.step, run_end=None)
    assert "warm_up" in codes(healthy)
    healthy.training = replace(healthy.training, run_rate=healthy.training.learning_rate)
    assert "warm_up" not in codes(healthy)


def test_a_model_without_optimizer_state_and_with_a_context_of_one(healthy):
    healthy.optimizer = None
    assert codes(healthy) == ["warm_up"]
    assert healthy.optimizer is None
    assert diagnose(trained(1, num_tokens=1), dataset(healthy)).layers[0].heads[0].entropy == 0.0


def test_position_buckets_double():
    assert position_buckets(1) == [(0, 1)]
    assert position_buckets(80)[-2:] == [(31, 63), (63, 80)]


@pytest.mark.parametrize("module", [addition_dummy, simple_dummy, simple_dummy2, simple_sequence, simple_sequence2])
def test_dummy_sets_are_recognised(module):
    text = module.generate(seed=5, lines=300)
    name = module.__name__.rsplit(".", 1)[1]
    for kind in ("char", "byte"):
        tokenizer = tokenizers.build(kind, text)
        assert known_data.recognise(tokenizer.encode(text), tokenizer).name == name


def test_other_texts_are_not_recognised_and_losses_are_by_token():
    tokenizer = tokenizers.build("byte", None)
    for text in ("to be or not to be;\n" * 30, "\n\n\n", "a", "1 + 1\n" * 20):
        assert known_data.recognise(tokenizer.encode(text), tokenizer) is None
    text = addition_dummy.generate(lines=200)
    bpe = tokenizers.BpeTokenizer.from_documents([text.encode()], 40)
    known = known_data.recognise(bpe.encode(text), bpe)
    assert known.floor == pytest.approx(0.645 * len(text) / len(bpe.encode(text)))


# --- the command ------------------------------------------------------------------------------------------------------------


def run(*arguments, status=0):
    result = CliRunner().invoke(main, ["diagnose", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def files(tmp_path, healthy):
    model, text = tmp_path / "model.dat", tmp_path / "dataset.txt"
    checkpoint.save(healthy, model)
    text.write_text(TEXT)
    return model, text


def test_the_command_reports_and_leaves_the_file_alone(files):
    model, text = files
    before = model.read_bytes()
    shown = run("--model", model, "--dataset", text, "--batch-size", 8).stdout
    assert "no findings: loss" in shown
    assert "by position: 1 " in shown
    assert "known data simple_dummy: floor 1.241" in shown
    document = json.loads(run("--model", model, "--dataset", text, "--json").stdout)
    assert document["findings"] == []
    assert document["layers"][1]["heads"][0].keys() == {"entropy", "distance"}
    assert document["data"]["known"]["name"] == "simple_dummy"
    assert model.read_bytes() == before


def test_the_command_prints_findings(files, healthy):
    model, text = files
    nan_weight(healthy)
    checkpoint.save(healthy, model)
    shown = run(model, "--dataset", text).stdout
    assert "findings: 1\n1. weights are not finite in proj_1_weights\n   go back" in shown
    document = json.loads(run("--model", model, "--dataset", text, "--json").stdout)
    assert document["findings"][0]["code"] == "not_finite_weights"
    assert document["data"]["loss"] is None


def test_bad_input_is_one_line(files, tmp_path):
    model, text = files
    for content, message in (("", "the data set is empty"), ("a", "at least 2 are needed")):
        text.write_text(content)
        result = run("--model", model, "--dataset", text, status=1)
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert "cannot read the model" in run("--model", tmp_path / "none.dat", "--dataset", text, status=1).stderr
    run("--model", model, "--dataset", text, "--batch-size", 0, status=2)


def test_bad_arguments_of_the_library(healthy):
    with pytest.raises(ConfigError, match="batch_size"):
        diagnose(healthy, dataset(healthy), 0)
    with pytest.raises(DataError, match="at least 2"):
        diagnose(healthy, dataset(healthy, "a"))


def test_the_model_is_given_once(files):
    model, text = files
    assert "give the model once" in run(model, "--model", model, "--dataset", text, status=2).stderr


def test_a_text_of_one_token_has_no_entropy_and_no_context_to_use():
    tokenizer = tokenizers.BpeTokenizer([b"<unk>"], 0)
    made = checkpoint.create(ModelConfig(1, 8, 4, 1, 1), tokenizer, TrainConfig(batch_size=2, warmup_steps=0))
    diagnosis = diagnose(made, data.from_text("text", "a" * 40, tokenizer))
    assert str(diagnosis.data.unigram_entropy) == "0.0"
    assert "no_use_of_context" not in [finding.code for finding in find(diagnosis)]
