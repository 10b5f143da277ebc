"""Optimisers: groups by role, state by name, and another one than AdamW in one file."""

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest

import femto
from femto import config, growth, optimizers
from femto.analysis import diagnosis
from femto.errors import CheckpointError, ConfigError
from femto.optimizers import Optimizer, parameter_groups
from tests.fixed_runs import TEXT, new, trained


class Momentum(Optimizer):
    """Heavy-ball momentum, for these tests: as small as an optimiser can be."""

    NAME: ClassVar[str] = "momentum"
    TITLE: ClassVar[str] = "Momentum"
    STATE: ClassVar[dict[str, int]] = {"velocity": 1}

    def update(self, parameters, gradients, learning_rate, settings, gradient_norm):
        (velocity,) = self.buffers().values()
        velocity *= 0.9
        velocity += gradients
        for group in self.groups(settings):
            parameters[group.stretch] -= group.learning_rate_factor * learning_rate * velocity[group.stretch]
        self.step += 1


@pytest.fixture
def momentum(monkeypatch):
    monkeypatch.setitem(optimizers.OPTIMIZERS, "momentum", Momentum)
    monkeypatch.setattr(config, "OPTIMIZERS", (*config.OPTIMIZERS, "momentum"))


def changes(**training):
    """By how much each tensor of a model moved in its first step, by name."""
    checkpoint = new(training={"warmup_steps": 0, **training})
    before = {name: tensor.copy() for name, tensor in checkpoint.model.tensors.items()}
    trained(checkpoint, 1)
    roles = {view.name: view.tensor.role for view in checkpoint.model.layout.named.values()}
    return {name: (roles[name], tensor - before[name]) for name, tensor in checkpoint.model.tensors.items()}


def test_groups_cover_every_float_once_and_are_one_where_nothing_differs():
    layout = new().model.layout
    assert [(group.start, group.end) for group in parameter_groups(layout, femto.TrainConfig())] == [(0, layout.size)]
    settings = femto.TrainConfig(weight_decays={"bias": 0.0, "gain": 0.0}, learning_rate_factors={"matrix": 0.5})
    groups = parameter_groups(layout, settings)
    assert [0, *(group.end for group in groups)] == [*(group.start for group in groups), layout.size]
    assert [tensor for group in groups for tensor in group.tensors] == list(layout.tensors.values())
    for group in groups:
        roles = {tensor.role for tensor in group.tensors}
        assert group.learning_rate_factor == (0.5 if "matrix" in roles else 1.0)
        assert group.weight_decay == (0.0 if roles & {"bias", "gain"} else settings.weight_decay)
        assert len({role in ("bias", "gain") for role in roles}) == 1


def test_a_role_has_its_own_learning_rate_and_decay_and_the_others_do_not_notice():
    plain = changes()
    frozen = changes(learning_rate_factors={"matrix": 0.0})
    for name, (role, change) in frozen.items():
        np.testing.assert_array_equal(change, 0.0 if role == "matrix" else plain[name][1], err_msg=name)
    without = changes(weight_decays={"gain": 0.0, "head": 0.0})
    with_none = changes(weight_decay=0.0)
    for name, (role, change) in without.items():
        expected = with_none if role in ("gain", "head") else plain
        np.testing.assert_array_equal(change, expected[name][1], err_msg=name)
    assert any((plain[name][1] != with_none[name][1]).any() for name in plain)


def test_groups_are_stored_and_go_on_to_the_same_bytes(tmp_path):
    settings = {"learning_rate_factors": {"embedding": 2.0}, "weight_decays": {"bias": 0.0}}
    whole = trained(new(training=settings), 8)
    part = trained(new(training=settings), 3)
    femto.save(part, tmp_path / "model.dat")
    loaded = femto.load(tmp_path / "model.dat")
    assert loaded.training.learning_rate_factors == {"embedding": 2.0}
    trained(loaded, 5)
    assert loaded.model.parameters_sha256 == whole.model.parameters_sha256
    assert loaded.optimizer_sha256 == whole.optimizer_sha256


def test_another_optimiser_trains_saves_grows_and_is_diagnosed(momentum, tmp_path):
    settings = {"optimizer": "momentum", "learning_rate": 0.05, "clip_norm": 0.0}
    checkpoint = trained(new(training=settings), 60)
    assert checkpoint.history.losses[-10:].mean() < checkpoint.history.losses[:10].mean() - 0.3
    assert checkpoint.optimizer.state.nbytes == Momentum.state_bytes(checkpoint.model.layout.size)
    femto.save(checkpoint, tmp_path / "model.dat")
    loaded = femto.load(tmp_path / "model.dat")
    assert type(loaded.optimizer) is Momentum and loaded.optimizer_sha256 == checkpoint.optimizer_sha256
    wide = growth.insert_heads(loaded, 1)
    assert wide.optimizer.step == 60 and wide.optimizer.state.any()
    found = diagnosis.diagnose(wide, femto.from_text("text", TEXT, wide.tokenizer))
    assert found.training.optimizer == "Momentum" and found.training.epsilon is None
    assert all(layer.update_to_weight > 0 for layer in found.layers)
    trained(wide, 2)


def test_a_copy_trains_and_is_saved_like_the_original(tmp_path):
    original = trained(new(), 4)
    copies = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]
    trained(original, 4)
    for copied in copies:
        trained(copied, 4)
        femto.save(copied, tmp_path / "copy.dat")
        loaded = femto.load(tmp_path / "copy.dat")
        assert loaded.optimizer_sha256 == copied.optimizer_sha256 == original.optimizer_sha256
        assert loaded.model.parameters_sha256 == original.model.parameters_sha256
        copied.model.tensors["token_embedding"][0, 0] += 1
        assert copied.model.parameters_sha256 != original.model.parameters_sha256


def test_frozen_matrices_are_no_finding_and_a_factor_is_named():
    def codes(**training):
        checkpoint = trained(new(training={"warmup_steps": 0, **training}), 20)
        found = diagnosis.find(diagnosis.diagnose(checkpoint, femto.from_text("text", TEXT, checkpoint.tokenizer)))
        return {finding.code: finding.message + finding.advice for finding in found}

    assert "small_updates" not in codes(learning_rate_factors={"matrix": 0.0})
    told = codes(learning_rate_factors={"matrix": 1e-4})["small_updates"]
    assert "(times 0.0001 for matrices)" in told and "--learning-rate-factor matrix" in told


def test_a_trainer_keeps_to_the_optimiser_of_its_checkpoint(momentum):
    checkpoint = new()
    settings = config.updated(checkpoint.training, {"optimizer": "momentum"})
    with pytest.raises(ConfigError, match="optimizer must be that of the checkpoint's settings, adamw, got momentum"):
        femto.Trainer(checkpoint, checkpoint.tokenizer.encode(TEXT), settings=settings)


def test_state_is_never_taken_for_another_optimisers(momentum, tmp_path):
    checkpoint = trained(new())
    femto.save(checkpoint, tmp_path / "model.dat")
    before = (tmp_path / "model.dat").read_bytes()
    checkpoint.training = config.updated(checkpoint.training, {"optimizer": "momentum"})
    with pytest.raises(ConfigError, match=r"optimizer must stay adamw.*--reset-optimizer"):
        femto.Session(checkpoint, femto.from_text("text", TEXT, checkpoint.tokenizer), None)
    with pytest.raises(CheckpointError, match="the state is of adamw, the settings name momentum"):
        femto.save(checkpoint, tmp_path / "model.dat")
    assert (tmp_path / "model.dat").read_bytes() == before
    growth.reset_optimizer(checkpoint)
    assert type(trained(checkpoint).optimizer) is Momentum
