"""Settings that grow: a field that is added has a value that means 'as before', and nothing recorded before changes."""

import json
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path

import pytest

import femto
from femto import config, optimizers
from femto.config import LATEST_NUMERICS, ModelConfig, TrainConfig, as_before, from_json, to_json
from femto.errors import CheckpointError, ConfigError
from femto.experiments import reading
from femto.model.blocks import BLOCK_CLASSES
from femto.model.norms import NORM_CLASSES
from femto.model.tensors import declared
from tests.fixed_runs import new, trained

FIRST = json.loads((Path(__file__).parent / "formats" / "0.1" / "models.json").read_bytes())["trained"]
RECORDS = {ModelConfig: FIRST["config"], TrainConfig: FIRST["training"]}


@pytest.mark.parametrize("kind", RECORDS)
def test_every_field_that_the_first_files_lack_means_as_before_by_default(kind):
    added = {one.name for one in fields(kind)} - RECORDS[kind].keys()
    assert added == as_before(kind).keys()
    for one in fields(kind):
        if one.name in added and one.name not in ("numerics", "schedule", "parts"):  # of which new models have the latest
            default = one.default if one.default is not MISSING else one.default_factory()
            assert default == as_before(kind)[one.name]
    assert as_before(ModelConfig)["numerics"] == 1 and ModelConfig(9).numerics == LATEST_NUMERICS
    assert as_before(TrainConfig)["schedule"] == "life" and TrainConfig().schedule == "run"


@pytest.mark.parametrize("kind", RECORDS)
def test_records_without_added_fields_are_read_and_others_refused(kind):
    assert from_json(kind, RECORDS[kind]) == kind(**as_before(kind), **RECORDS[kind])
    assert from_json(kind, to_json(kind(**RECORDS[kind]))) == kind(**RECORDS[kind])
    with pytest.raises(ConfigError, match="has no field 'colour'; was the file written by a newer femto"):
        from_json(kind, {**RECORDS[kind], "colour": 1})
    for name in RECORDS[kind]:
        with pytest.raises(ConfigError, match=f"lacks the field '{name}'"):
            from_json(kind, {key: value for key, value in RECORDS[kind].items() if key != name})


def test_what_an_added_field_says_as_before_is_not_in_an_experiments_digest_and_what_it_says_else_is():
    plan = reading.load("10").plan("modern")
    for name, value in as_before(TrainConfig).items():
        assert replace(plan, training=replace(plan.training, **{name: value})).digest == plan.digest
    for name, value in as_before(ModelConfig).items():
        assert replace(plan, model={**plan.model, name: value}).digest == plan.digest
    changed = replace(plan.training, weight_decays={"gain": 0.0})
    assert replace(plan, training=changed).digest != plan.digest
    assert replace(plan, training=replace(plan.training, learning_rate=0.5)).digest != plan.digest


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (lambda: ModelConfig(0), "vocab_size"),
        (lambda: ModelConfig(9, num_heads=3), "embedding_degree"),
        (lambda: ModelConfig(9, block="square"), "block"),
        (lambda: ModelConfig(9, rotary_base=0.5), "rotary_base"),
        (lambda: ModelConfig(9, numerics=LATEST_NUMERICS + 1), "numerics"),
        (lambda: TrainConfig(batch_size=0), "batch_size"),
        (lambda: TrainConfig(micro_batch_size=3), "micro_batch_size"),
        (lambda: TrainConfig(dropout=1.0), "dropout"),
        (lambda: TrainConfig(optimizer="sgd"), "optimizer"),
        (lambda: TrainConfig(learning_rate_factors={"bais": 1.0}), "learning_rate_factors"),
        (lambda: TrainConfig(weight_decays={"bias": -1.0}), "weight_decays"),
        (lambda: TrainConfig(weight_decays=[1.0]), "weight_decays"),
    ],
)
def test_an_error_names_its_field_first(record, field):
    with pytest.raises(ConfigError, match=f"^{field} ") as caught:
        record()
    assert caught.value.field == field


def test_a_choice_that_a_file_names_and_nobody_knows_may_be_a_newer_femtos():
    told = "norm must be one of layer_norm, got 'rms_norm'; was the file written by a newer femto"
    with pytest.raises(ConfigError, match=told):
        from_json(ModelConfig, {**RECORDS[ModelConfig], "norm": "rms_norm"})


def test_settings_are_their_own_whoever_made_them():
    given = {"bias": 0.0}
    settings = TrainConfig(weight_decays=given)
    given["bias"] = 5.0
    assert settings.weight_decays == {"bias": 0.0} and settings != TrainConfig()
    assert len({TrainConfig(), TrainConfig(), TrainConfig(seed=1)}) == 2


def test_names_of_choices_and_what_they_stand_for_agree():
    assert tuple(BLOCK_CLASSES) == config.BLOCKS
    assert tuple(NORM_CLASSES) == config.NORMS
    assert tuple(optimizers.OPTIMIZERS) == config.OPTIMIZERS
    assert {tensor.role for tensor in declared(ModelConfig(9, positional_encoding="learned"))} == set(config.ROLES)
    assert all(preset.model["numerics"] == LATEST_NUMERICS for preset in femto.PRESETS.values())


def test_a_model_keeps_its_numerics_until_it_is_moved_and_its_history_tells(tmp_path, monkeypatch):
    checkpoint = trained(new())
    checkpoint.move_to_numerics()  # there is no later version yet
    assert [entry["kind"] for entry in checkpoint.history.entries] == ["init", "session"]
    assert checkpoint.history.entries[-1]["numerics"] == checkpoint.model.config.numerics == 1
    with monkeypatch.context() as later:
        later.setattr(config, "LATEST_NUMERICS", 2)
        femto.save(checkpoint, tmp_path / "old.dat")
        loaded = femto.load(tmp_path / "old.dat")
        assert loaded.model.config.numerics == 1
        loaded.move_to_numerics(2)
        entry = loaded.history.entries[-1]
        assert (entry["kind"], entry["before"], entry["after"]) == ("numerics", 1, 2)
        trained(loaded, 1)
        assert loaded.history.entries[-1]["numerics"] == 2
        femto.save(loaded, tmp_path / "new.dat")
        assert asdict(femto.load(tmp_path / "new.dat").model.config) == {**asdict(checkpoint.model.config), "numerics": 2}
    with pytest.raises(CheckpointError, match=r"new\.dat: numerics must be a version from 1 to 1, got 2; if a newer femto"):
        femto.load(tmp_path / "new.dat")
