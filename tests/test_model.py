"""The graph against a float64 model, finite differences, and the figures that the original program printed."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest

from femto import kernels
from femto.config import BLOCKS, POSITIONAL_ENCODINGS, PRESETS, ModelConfig
from femto.model import Decoder, Graph, Model, count_parameters
from femto.model.linear import Pass
from femto.model.tensors import count_views
from femto.optimizers import AdamW

from . import numpy_model

REFERENCE = Path(__file__).parent / "reference" / "original_program.npz"


@pytest.fixture(params=kernels.supported_isas())
def isa(request):
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


@pytest.fixture(scope="module")
def figures():
    with np.load(REFERENCE, allow_pickle=False) as archive:
        return dict(archive)


def original_model(figures, which):
    config = ModelConfig(101, 16, 32, 2, 2, **PRESETS["reference"].model)
    model = Model(config)
    for name, tensor in model.tensors.items():
        tensor[...] = figures[f"{which}.param.{name}"].reshape(tensor.shape)
    return model


@pytest.mark.parametrize("which", ["init", "trained"])
def test_reference_preset_computes_what_the_original_program_computed(figures, which, isa):
    model = original_model(figures, which)
    tokens = figures["tokens"]
    graph = Graph(model, 1, 16, training=True)
    inputs, targets = tokens[None, :-1].copy(), tokens[None, 1:].copy()

    assert_close(graph.forward(inputs), figures[f"{which}.logits"][0])
    assert_close(graph.losses(inputs, targets), figures[f"{which}.losses"][0])
    graph.accumulate_gradients(inputs, targets, Pass(16), 1.0 / 16)
    for name, gradient in model.layout.views(graph.gradients).items():
        assert_close(gradient, figures[f"{which}.grad.{name}"].reshape(gradient.shape), name)


@pytest.mark.parametrize(("which", "step"), [("adamw_zero", 0), ("adamw_trained", 201)])
def test_adamw_steps_as_the_original_program(figures, which, step, isa):
    model = original_model(figures, "trained")
    optimizer = AdamW(model.layout)
    optimizer.step = step
    gradients = np.zeros(model.layout.size, np.float32)
    for name, view in model.layout.views(gradients).items():
        view[...] = figures[f"trained.grad.{name}"].reshape(view.shape)
    moments = {"m": model.layout.views(optimizer.m), "v": model.layout.views(optimizer.v)}
    if which == "adamw_trained":
        for letter, views in moments.items():
            for name, view in views.items():
                view[...] = figures[f"trained.opt.{name}_{letter}"].reshape(view.shape)

    optimizer.update(model.parameters, gradients, 0.001, PRESETS["reference"].training, 1.0)

    for name, tensor in model.tensors.items():
        assert_close(tensor, figures[f"{which}.param.{name}"].reshape(tensor.shape), name)
        for letter, views in moments.items():
            assert_close(views[name], figures[f"{which}.opt.{name}_{letter}"].reshape(tensor.shape), name)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("encoding", POSITIONAL_ENCODINGS)
@pytest.mark.parametrize("block", BLOCKS)
def test_loss_and_gradients_agree_with_a_float64_model(block, encoding, dropout):
    config = ModelConfig(37, 11, 21, 2, 3, block, encoding, "scaled")
    b, t, d = 3, config.num_tokens, config.embedding_degree
    rng = np.random.default_rng(7)
    model = Model(config)
    model.parameters[...] = 0.3 * rng.standard_normal(model.layout.size, np.float32)
    tokens, targets = rng.integers(0, 37, (2, b, t)).astype(np.int32)
    run = Pass(t, dropout, seed=5, step=9, first_sequence=4)
    graph = Graph(model, b, t, training=True)
    mean = graph.accumulate_gradients(tokens, targets, run, 1.0 / (b * t)) / (b * t)

    masks = {}
    if dropout:
        for layer in range(config.num_layers):
            padded = -(-t // 8) * 8  # drawn as rows of keys, those of a head in whole groups of eight
            rows = np.ones((b * config.num_heads * padded, t), np.float32)
            first = run.first_sequence * config.num_heads * padded
            attention = kernels.dropout(rows, run.mask(layer, 0), first_row=first)
            masks[layer, "attention"] = attention.reshape(b, config.num_heads, padded, t)[:, :, :t].swapaxes(-1, -2)
            for kind, site in (("proj", 1), ("ff", 2)):
                rows = np.ones((b * t, d), np.float32)
                mask = kernels.dropout(rows, run.mask(layer, site), first_row=run.first_sequence * t)
                masks[layer, kind] = mask.reshape(b, t, d)
        assert {0.0} < set(np.unique(masks[0, "attention"])), "the mask drops something"
    parameters = {name: tensor.astype(np.float64) for name, tensor in model.tensors.items()}

    def oracle(changed):
        return numpy_model.loss(config, {**parameters, **changed}, tokens, targets, masks)

    assert mean == pytest.approx(oracle({}), rel=1e-5)
    for name, gradient in model.layout.views(graph.gradients).items():
        direction = rng.standard_normal(gradient.shape)
        direction /= np.linalg.norm(direction)
        up, down = (oracle({name: parameters[name] + sign * 1e-6 * direction}) for sign in (1, -1))
        expected = (up - down) / 2e-6
        assert (gradient * direction).sum() == pytest.approx(expected, rel=2e-3, abs=2e-5), name


@pytest.mark.parametrize("encoding", POSITIONAL_ENCODINGS)
@pytest.mark.parametrize("block", BLOCKS)
def test_the_cache_gives_the_logits_of_the_whole_sequence(block, encoding):
    config = ModelConfig(29, 20, 18, 2, 2, block, encoding, "scaled")
    model = Model(config).initialize(3)
    tokens = np.random.default_rng(0).integers(0, 29, 20).astype(np.int32)
    whole = Graph(model, 1, 20).forward(tokens[None]).copy()
    decoder = Decoder(model)
    assert_close(decoder.prefill(tokens[:7]), whole[6])
    for place in range(7, 20):
        assert_close(decoder.decode(int(tokens[place])), whole[place])
    for length in (7, 7, 20, 1, 7):  # anew, in the same buffers and in others
        assert_close(decoder.prefill(tokens[:length]), whole[length - 1])
        if length < 20:
            assert_close(decoder.decode(int(tokens[length])), whole[length])


def test_parameter_count_follows_the_formula_of_the_specification():
    for v, d, layers, expected in ((256, 64, 4, 232_320), (256, 32, 4, 67_136), (1054, 768, 8, 58_306_078)):
        config = ModelConfig(v, 80, d, layers, 4, **PRESETS["reference"].model)
        assert config.num_parameters == expected
    model = Model(ModelConfig(11, 7, 10, 3, 2, positional_encoding="learned"))
    assert sum(tensor.size for tensor in model.tensors.values()) == model.config.num_parameters
    assert count_views(model.config) == len(model.tensors)


def test_names_are_views_of_one_buffer_without_overlap():
    model = Model(ModelConfig(11, 7, 10, 2, 2))
    for number, tensor in enumerate(model.tensors.values(), start=1):
        assert np.shares_memory(tensor, model.parameters)
        assert (tensor == 0).all(), "no earlier tensor lies here"
        tensor[...] = number


def test_reference_initialisation_is_normal_with_zero_biases():
    tensors = Model(ModelConfig(300, 16, 64, 2, 4, **PRESETS["reference"].model)).initialize(1).tensors
    for name, tensor in tensors.items():
        if name.endswith("_bias"):
            assert not tensor.any(), name
        else:
            assert tensor.std() == pytest.approx(0.02, rel=0.35 if tensor.ndim == 1 else 0.1), name
    first, second = (Model(ModelConfig(9)).initialize(seed).parameters_sha256 for seed in (1, 2))
    assert first != second
    assert first == Model(ModelConfig(9)).initialize(1).parameters_sha256


def assert_close(actual, expected, name=""):
    """Relative error of the tensor, against its largest entry, under 1e-4."""
    scale = np.abs(expected).max()
    assert np.abs(actual - expected).max() <= 1e-4 * scale + 1e-12, name


@pytest.mark.parametrize("positions", POSITIONAL_ENCODINGS)
def test_parts_count_every_parameter_once(positions):
    config = ModelConfig(7, num_tokens=5, embedding_degree=6, num_layers=3, num_heads=2, positional_encoding=positions)
    parts = count_parameters(config)
    assert sum(parts.values()) == config.num_parameters
    sizes = {name: tensor.size for name, tensor in Model(config).tensors.items()}
    of_attention = [size for name, size in sizes.items() if name.startswith("proj") or re.fullmatch(r"head_\d+_\d+_[qkv]", name)]
    assert parts["attention"] == sum(of_attention)
    assert parts["feedforward"] == sum(size for name, size in sizes.items() if name.startswith("feedforward"))


def test_a_copied_model_has_tensors_of_its_own():
    model = Model(ModelConfig(5, num_tokens=4, embedding_degree=4, num_layers=1, num_heads=2)).initialize(1)
    other = copy.deepcopy(model)
    other.tensors["head_0_1_q"][...] = 7.0
    assert np.count_nonzero(other.parameters == 7.0) == 8
    assert not np.count_nonzero(model.parameters == 7.0)
