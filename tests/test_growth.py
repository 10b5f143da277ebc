"""Models made from models: what is kept to the bit, what begins anew, and what the history says of it."""

import json
import random

import numpy as np
import pytest
from click.testing import CliRunner

import femto
from femto import data, growth, tokenizers
from femto.commands import main
from femto.config import PRESETS
from femto.errors import ConfigError
from femto.model.linear import Pass
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


def token_rows(checkpoint):
    """What the model has of each token, by its bytes."""
    tensors = checkpoint.model.tensors
    rows = np.hstack([tensors["token_embedding"], tensors["head_map_weights"].T, tensors["head_map_bias"][:, None]])
    return dict(zip(checkpoint.tokenizer.tokens, rows, strict=True))


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_init_with_keeps_the_tokens_that_both_know(positions):
    parent = trained(positions, reserved=2)
    shared = BpeTokenizer([b"q", b"to", b"<unk>", b"z", b"t"], 2)
    child = growth.init_with(parent, shared, seed=7, keep_tokens=True)
    assert child.history.entries[0]["kept_tokens"] == 3
    fresh, old = growth.init_with(parent, shared, seed=7), token_rows(parent)
    assert "kept_tokens" not in fresh.history.entries[0]
    for token, row in token_rows(child).items():
        np.testing.assert_array_equal(row, old[token] if token in (b"q", b"<unk>", b"t") else token_rows(fresh)[token])
    same = growth.init_with(parent, BpeTokenizer(parent.tokenizer.tokens, parent.tokenizer.unk_id), seed=7, keep_tokens=True)
    assert same.history.entries[0]["kept_tokens"] == parent.tokenizer.vocab_size
    assert same.model.parameters_sha256 == parent.model.parameters_sha256


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


def logits(checkpoint, tokens=8):
    ids = np.random.default_rng(0).integers(0, checkpoint.model.config.vocab_size, (3, tokens)).astype(np.int32)
    return femto.Graph(checkpoint.model, 3, tokens).forward(ids).copy()


def gradients(checkpoint):
    ids = femto.from_text("text", TEXT, checkpoint.tokenizer).ids[:18].reshape(2, 9)
    graph = femto.Graph(checkpoint.model, 2, 8, training=True)
    graph.accumulate_gradients(np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:]), Pass(8), 1 / 16)
    return checkpoint.model.layout.views(graph.gradients)


@pytest.mark.parametrize("preset", ["modern", "reference"])
def test_added_tokens_change_nothing_on_texts_without_them(preset, tmp_path):
    tokenizer = tokenizers.build("char", TEXT)
    shape = {"num_tokens": 8, "embedding_degree": 12, "num_layers": 2, "num_heads": 2}
    training = femto.TrainConfig(batch_size=2, seed=1)
    old = femto.create(femto.ModelConfig(tokenizer.vocab_size, **shape, **PRESETS[preset].model), tokenizer, training, preset)
    list(femto.Session(old, femto.from_text("text", TEXT, tokenizer), path=None).run(30))
    names = ["<|endoftext|>", "xyz", "<|x|>", *(f"to {number}" for number in range(20))]
    grown = growth.add_tokens(old, names)
    assert old.tokenizer is tokenizer and old.model.config.vocab_size == tokenizer.vocab_size
    assert [token.decode() for token in grown.tokenizer.tokens[tokenizer.vocab_size :]] == names
    ids = femto.from_text("text", TEXT, grown.tokenizer).ids
    np.testing.assert_array_equal(ids, femto.from_text("text", TEXT, tokenizer).ids)

    inputs, _ = data.consecutive_windows(ids, 8)
    before, after = (femto.Graph(each.model, *inputs.shape).forward(inputs).astype(np.float64) for each in (old, grown))
    np.testing.assert_array_equal(after[:, : tokenizer.vocab_size], before)
    share = np.exp(after[:, tokenizer.vocab_size :]).sum(1) / np.exp(after).sum(1)
    assert 0 < share.max() < growth.NEW_SHARE
    rise = [femto.evaluate(each.model, ids, each.tokenizer).nats for each in (old, grown)]
    assert -1e-6 < rise[1] - rise[0] < growth.NEW_SHARE

    first = tokenizer.vocab_size
    rows, embedding = token_rows(grown), grown.model.tensors["token_embedding"]
    for token, row in token_rows(old).items():
        np.testing.assert_array_equal(rows[token], row)
    unknown = old.model.tensors["token_embedding"][[tokenizer.unk_id]]
    np.testing.assert_allclose(embedding[first + 1], unknown[0], rtol=1e-6)  # x, y and z are unknown
    to = old.model.tensors["token_embedding"][tokenizer.encode("to ")]
    np.testing.assert_allclose(embedding[first + 3], np.vstack([to, unknown]).mean(0), rtol=1e-5, atol=1e-7)
    assert grown.optimizer.step == 30
    for moment, old_moment in zip(grown.optimizer.buffers().values(), old.optimizer.buffers().values(), strict=True):
        new, kept = grown.model.layout.views(moment), old.model.layout.views(old_moment)
        np.testing.assert_array_equal(new["head_map_weights"][:, :first], kept["head_map_weights"])
        np.testing.assert_array_equal(new["proj_0_weights"], kept["proj_0_weights"])
        assert not new["head_map_weights"][:, first:].any()

    entry = grown.history.entries[-1]
    assert (entry["kind"], entry["first"], entry["tokens"]) == ("add-token", first, names)
    femto.save(grown, tmp_path / "grown.dat")
    assert femto.load(tmp_path / "grown.dat").model.parameters_sha256 == grown.model.parameters_sha256


def test_an_added_token_is_learnt():
    text = TEXT.replace(". ", "<|end|>")
    grown = growth.add_tokens(trained(steps=100), ["<|end|>"])
    ids = femto.from_text("text", text, grown.tokenizer).ids
    end = grown.tokenizer.vocab_size - 1
    assert np.count_nonzero(ids == end) == 40
    inputs, targets = data.consecutive_windows(ids, 8)

    def loss_of_the_token():
        losses = femto.Graph(grown.model, *inputs.shape).losses(inputs, targets)
        return losses.reshape(targets.shape)[targets == end].mean()

    before = loss_of_the_token()
    assert before > -np.log(growth.NEW_SHARE)
    grown.training = femto.TrainConfig(batch_size=16, decay_steps=0)
    list(femto.Session(grown, femto.from_text("text", text, grown.tokenizer), path=None).run(400))
    assert loss_of_the_token() < before / 4


GROWTH = {
    "first layer": lambda old: growth.insert_layer(old, 0, 5),
    "middle layer": lambda old: growth.insert_layer(old, 1, 5),
    "last layer": lambda old: growth.insert_layer(old, 2, 5),
    "head": lambda old: growth.insert_heads(old, 1, 5),
    "three heads": lambda old: growth.insert_heads(old, 3, 5),
    "context": lambda old: growth.extend_context(old, 13, 5),
    "all": lambda old: growth.insert_heads(growth.insert_layer(growth.extend_context(old, 11, 1), 1, 2), 2, 3),
}


@pytest.mark.parametrize("positions", ["rotary", "learned", "absolute", "none"])
@pytest.mark.parametrize("grow", GROWTH.values(), ids=GROWTH)
def test_growth_preserves_the_function_of_a_modern_model(grow, positions):
    old = trained(positions, steps=30)
    before, after = logits(old), grow(old)
    assert np.abs(before).max() > 0.3
    np.testing.assert_allclose(logits(after), before, atol=2e-6)
    assert after.model.config.num_parameters >= old.model.config.num_parameters


@pytest.mark.parametrize("grow", [GROWTH["middle layer"], GROWTH["three heads"]], ids=["layer", "heads"])
def test_every_new_part_has_gradients_within_two_steps(grow):
    grown = grow(trained(steps=30))
    dataset = femto.from_text("text", TEXT, grown.tokenizer)
    list(femto.Session(grown, dataset, path=None).run(1))
    for name, gradient in gradients(grown).items():
        # keys have no bias to take the mean gradient away, and the first token of a window sees only itself
        assert np.abs(gradient).max(axis=0).min() > 0, name


def test_the_optimiser_goes_on_with_what_it_knew():
    old = trained(steps=5)
    grown = growth.insert_layer(old, 1, 5)
    assert grown.optimizer.step == 5
    for moment, before in ((grown.optimizer.m, old.optimizer.m), (grown.optimizer.v, old.optimizer.v)):
        new_views, old_views = grown.model.layout.views(moment), old.model.layout.views(before)
        for name, tensor in old_views.items():
            np.testing.assert_array_equal(new_views[growth.after_insertion(old.model.layout.named[name], 1)], tensor)
        assert not new_views["heads_1_qkv" if "heads_1_qkv" in new_views else "head_1_0_q"].any()
    wide = growth.insert_heads(old, 2, 5)
    scale = np.sqrt(24 / 12)
    m, v = (wide.model.layout.views(moment) for moment in (wide.optimizer.m, wide.optimizer.v))
    old_m, old_v = (old.model.layout.views(moment) for moment in (old.optimizer.m, old.optimizer.v))
    np.testing.assert_array_equal(m["norm_0_bias"][:12], old_m["norm_0_bias"])
    np.testing.assert_allclose(m["norm_0_coeff"][:12], old_m["norm_0_coeff"] * scale, rtol=1e-6)
    np.testing.assert_allclose(m["token_embedding"][:, :12], old_m["token_embedding"] / scale, rtol=1e-6)
    np.testing.assert_allclose(v["proj_1_weights"][:12, :12], old_v["proj_1_weights"] / scale**2, rtol=1e-6)
    assert not m["proj_1_weights"][12:].any()


def test_the_gradient_of_a_widened_model_is_that_of_the_narrow_one():
    # what the scaling of the moments rests on
    old = growth.insert_heads(trained(steps=30), 1, 4)  # written to the stream centred already
    wide = growth.insert_heads(old, 1, 5)
    scale = np.sqrt(24 / 18)
    before, after = gradients(old), gradients(wide)
    for name, factor in (
        ("norm_1_coeff", 1 / scale),
        ("head_0_1_v", 1.0),
        ("feedforward1_0_weights", 1.0),
        ("token_embedding", scale),
    ):
        block = tuple(slice(size) for size in before[name].shape)
        ours, theirs = after[name][block] * factor, before[name]
        if name == "token_embedding":  # the new columns have a say in the mean, which no reader sees
            ours, theirs = ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True)
        np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=1e-3)


def test_growth_of_a_reference_model_is_random_and_resets_the_optimiser():
    tokenizer = tokenizers.build("char", TEXT)
    shape = {"num_tokens": 8, "embedding_degree": 12, "num_layers": 2, "num_heads": 2}
    preset = femto.PRESETS["reference"]
    old = femto.create(femto.ModelConfig(tokenizer.vocab_size, **shape, **preset.model), tokenizer, preset.training, "reference")
    list(femto.Session(old, femto.from_text("text", TEXT, tokenizer), path=None).run(2))
    for grown in (growth.insert_layer(old, 2, 5), growth.insert_heads(old, 1, 5)):
        assert grown.optimizer is None
        assert [entry["kind"] for entry in grown.history.entries[2:]] == [grown.history.entries[2]["kind"], "reset-optimizer"]
        assert np.abs(grown.model.tensors["proj_1_weights"]).min() > 0
        np.testing.assert_array_equal(grown.model.tensors["head_1_0_q"][:12], old.model.tensors["head_1_0_q"])
    assert np.abs(growth.insert_layer(old, 1, 5).model.tensors["norm_1_coeff"]).max() < 0.2  # N(0, 0.02)
    kept = growth.extend_context(old, 20)
    assert kept.optimizer is not None
    np.testing.assert_array_equal(logits(kept), logits(old))


@pytest.mark.parametrize(
    ("grow", "message"),
    [
        (lambda old: growth.insert_layer(old, 3), "insert_at must be from 0 to 2, as the model has 2 layers; got 3"),
        (lambda old: growth.insert_layer(old, -1), "insert_at must be from 0 to 2"),
        (lambda old: growth.insert_heads(old, 0), "count must be at least 1"),
        (
            lambda old: growth.insert_heads(old, 10**6),
            "^count must be less than 1000000: embedding_degree must be a whole number",
        ),
        (lambda old: growth.extend_context(old, 8), "num_tokens must be more than the 8"),
    ],
)
def test_growth_that_is_none_is_refused(grow, message):
    with pytest.raises(ConfigError, match=message):
        grow(trained(steps=0))


def test_a_grown_model_is_saved_and_trains_on_as_itself(tmp_path):
    grown = GROWTH["all"](trained(steps=3))
    dataset = femto.from_text("text", TEXT, grown.tokenizer)
    femto.save(grown, tmp_path / "grown.dat")
    for checkpoint in (grown, loaded := femto.load(tmp_path / "grown.dat")):
        list(femto.Session(checkpoint, dataset, path=None).run(3))
    assert grown.model.parameters_sha256 == loaded.model.parameters_sha256
    kinds = [entry["kind"] for entry in loaded.history.entries]
    assert kinds == ["init", "session", "extend-context", "insert-layer", "insert-head", "session"]


def test_the_report_says_whether_the_function_is_preserved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = tokenizers.build("char", TEXT)
    for preset in ("modern", "reference"):
        config = femto.ModelConfig(tokenizer.vocab_size, 8, 12, 2, 2, **PRESETS[preset].model)
        made = femto.create(config, tokenizer, femto.TrainConfig(batch_size=2))
        list(femto.Session(made, femto.from_text("text", TEXT, tokenizer), path=None).run(1))
        femto.save(made, f"{preset}.dat")
        for command, preserved in (
            (("extend-context", "--num-tokens", "9"), True),
            (("insert-layer",), preset == "modern"),
            (("insert-head",), preset == "modern"),
        ):
            for reset in ((), ("--reset-optimizer",)):
                options = ("--input", f"{preset}.dat", "--output", "out.dat", "--force", "--json")
                result = CliRunner().invoke(main, [*command, *options, *reset])
                shown = json.loads(result.stdout)
                assert (shown["function_preserved"], shown["optimizer_kept"]) == (preserved, preserved and not reset), command
