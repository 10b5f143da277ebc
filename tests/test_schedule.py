"""The learning rate: what a run does with it, how it rises again, and the line that says it before the first step."""

import json
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import femto
from femto import checkpoint, data, growth, kernels, tokenizers
from femto.commands import main
from femto.config import AUTO, PRESETS, ModelConfig, TrainConfig, as_before, from_json, to_json
from femto.errors import ConfigError
from femto.kernels import threads
from femto.optimizers.schedule import learning_rate, settled
from femto.training import Step, ahead

TEXT = "the quick brown fox jumps over the lazy dog; " * 40
AS_BEFORE = {**as_before(TrainConfig), "warmup_steps": 100}


def new(**training):
    tokenizer = tokenizers.build("char", TEXT)
    config = ModelConfig(tokenizer.vocab_size, num_tokens=4, embedding_degree=4, num_layers=1, num_heads=1)
    return femto.create(config, tokenizer, TrainConfig(**{"batch_size": 2, "seed": 3, **training}))


def rates(made, steps, until=None, **options):
    """The learning rates of the next steps of a run of `steps`, which is closed after `until` of them."""
    session = femto.Session(made, data.from_text("text", TEXT, made.tokenizer), None, **options)
    found = []
    events = session.run(steps)
    for event in events:
        found += [event.learning_rate] if isinstance(event, Step) else []
        if len(found) == until:
            events.close()
    return found


def digests(made):
    return made.model.parameters_sha256, made.optimizer_sha256, made.training


def again(made, tmp_path):
    checkpoint.save(made, tmp_path / "model.dat")
    return checkpoint.load(tmp_path / "model.dat")


@pytest.mark.parametrize("steps", [1, 2, 9, 50, 300, 5000])
@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_a_run_of_any_length_learns_from_its_first_step_peaks_within_a_tenth_and_ends_at_the_minimum(steps, decay):
    run = settled(TrainConfig(decay=decay), 0, steps)
    found = [learning_rate(step, run) for step in range(steps)]
    assert found[0] >= 0.003 / 100 and found.index(max(found)) < max(1, math.ceil(min(steps, 1000) / 10))
    assert max(found) == 0.003 and (steps == 1 or found[-1] == pytest.approx(0.00003))
    if steps <= 50:
        assert rates(new(decay=decay), steps) == found
    for warmup in (0, 1):  # which are the same: the first step is at the peak
        told = settled(TrainConfig(decay=decay, warmup_steps=warmup), 0, steps)
        assert learning_rate(0, told) == 0.003 and (steps == 1 or learning_rate(steps - 1, told) == pytest.approx(0.00003))


def test_the_next_run_rises_from_the_rate_of_the_last_step_and_the_optimiser_keeps_its_state():
    made = new()
    first = rates(made, 200)
    moments = made.optimizer.m.copy()
    plan = ahead(made, 100)
    assert (plan.before, plan.note) == (first[-1], None) and (made.optimizer.m == moments).all()
    second = rates(made, 100)
    assert first[-1] < second[0] < 0.0004 and second[9] == max(second) == 0.003 and second[-1] == pytest.approx(0.00003)
    assert all(after - before < 0.00031 for before, after in zip([first[-1], *second], second, strict=False))
    assert made.optimizer.step == 300
    third = [rates(made, 1)[0] for _ in range(12)]  # runs so short that each only raises it, by a tenth of what is missing
    assert third == pytest.approx([0.003 - 0.00297 * 0.9**step for step in range(1, 13)])


def test_a_run_that_begins_at_the_peak_falls_at_once():
    made = new()
    made.training = replace(made.training, decay_steps=0)
    assert rates(made, 30)[-1] == 0.003
    made.training = replace(made.training, decay_steps=None)
    assert rates(made, 5) == pytest.approx([0.003, 0.0022575, 0.001515, 0.0007725, 0.00003])


@pytest.mark.parametrize("training", [{}, {"decay_steps": 0}, {"decay_steps": 20}, AS_BEFORE, {"schedule": "life"}])
@pytest.mark.parametrize("rewarm", [False, True])
def test_a_run_that_is_stopped_anywhere_and_goes_on_to_its_last_step_is_the_same_run(training, rewarm, tmp_path):
    whole, parts = new(**training), new(**training)
    expected = rates(whole, 30) + rates(whole, 40, rewarm=rewarm)
    found = rates(parts, 30)
    for until in (3, 13, None):
        parts = again(parts, tmp_path)
        found += rates(parts, 70 - parts.history.num_steps, until, rewarm=rewarm)
    assert found == expected and digests(parts) == digests(whole)


def test_a_decay_of_a_length_of_its_own_goes_on_in_later_runs_until_its_length_changes():
    whole, parts = new(decay_steps=50), new(decay_steps=50)
    assert rates(whole, 80) == rates(parts, 30) + rates(parts, 50)
    assert rates(parts, 10) == [0.00003] * 10
    assert ahead(parts, 10).note == "the learning rate stays at 3e-05, as its decay is over; --rewarm raises it again"
    parts.training = replace(parts.training, decay_steps=20)
    assert rates(parts, 30)[9] == 0.003 and rates(parts, 1) == [0.00003]
    assert max(rates(parts, 30, rewarm=True)) == 0.003


def test_models_of_earlier_files_keep_their_schedule_are_told_of_a_jump_and_may_rise_gradually():
    made = new(**AS_BEFORE)
    expected = [learning_rate(step, TrainConfig(**{**AS_BEFORE, "decay_steps": 100})) for step in range(200)]
    assert rates(made, 200) == expected and expected[0] == 0.0
    plan = ahead(made, 100)
    assert plan.first.rate == learning_rate(200, TrainConfig(**{**AS_BEFORE, "decay_steps": 200})) > 0.0015
    jump = "the learning rate jumps from 5.97e-05 to 0.00152 in one step; --rewarm raises it gradually"
    assert plan.note == jump and not ahead(made, 1000, rewarm=True).note
    assert made.training.run_end is None  # looking ahead changes nothing
    made.training = replace(made.training, warmup_steps=None)
    assert ahead(made, 100, rewarm=True).first == (201, expected[-1])
    made.training = replace(made.training, schedule="run")
    assert expected[-1] < ahead(made, 100).first.rate < 0.0004
    assert ahead(new(**AS_BEFORE), 1).note == "nothing is learnt at a learning rate of 0"


def test_every_model_of_a_line_that_grows_gets_the_whole_peak_and_rises_to_it():
    made = new()
    last = rates(made, 60)[-1]
    changes = (lambda m: growth.insert_layer(m, 1), lambda m: growth.insert_heads(m, 1), lambda m: growth.extend_context(m, 6))
    for grow in changes:
        for training in ({}, {"decay_steps": 50}):
            grown = grow(made)
            grown.training = replace(grown.training, **training)
            assert grown.optimizer.m.any() and grown.optimizer.step == made.optimizer.step
            found = rates(grown, 60)
            assert last < found[0] < 0.0007 and max(found[:10]) == found[9] == 0.003
        made, last = grown, found[-1]
    stopped = new()  # in the middle of a run: the grown model does not end it
    rates(stopped, 60, until=30)
    assert max(rates(growth.insert_layer(stopped, 0), 30)) == 0.003
    assert rates(growth.init_with(made, made.tokenizer), 60) == rates(new(decay_steps=50), 60)
    before = new(**AS_BEFORE)
    rates(before, 10)
    assert growth.insert_layer(before, 0).training == before.training


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["run", "life"]),
    st.sampled_from(["linear", "cosine"]),
    st.sampled_from([None, 0, 1, 7, 30]),
    st.sampled_from([None, 0, 5, 25]),
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=3),
)
def test_what_is_said_of_the_steps_ahead_is_what_they_are_trained_with(schedule, decay, warmup, length, sessions):
    made = new(schedule=schedule, decay=decay, warmup_steps=warmup, decay_steps=length)
    for steps, rewarm in sessions:
        done = made.history.num_steps
        plan = ahead(made, steps, rewarm)
        found = dict(enumerate(rates(made, steps, rewarm=rewarm), done + 1))
        assert made.training == plan.training
        points = [plan.first, *(part.end for part in plan.parts)]
        assert [point.step for point in points] == sorted({point.step for point in points}) and points[-1].step == done + steps
        for point in points:
            assert found[point.step] == point.rate and f"{point.rate:.3g}" in str(plan)
        for before, part in zip(points, plan.parts, strict=False):
            inside = [found[step] for step in range(before.step, part.end.step + 1)]
            assert inside == sorted(inside, reverse=inside[0] > inside[-1])
            assert (part.kind == "constant") == (inside[0] == inside[-1] == part.whole.rate)


def test_auto_is_what_femto_derives_in_the_library_in_files_and_from_the_command_line(tmp_path, monkeypatch):
    for name, derived in AUTO.items():
        assert getattr(TrainConfig(**{name: "auto"}), name) == derived == getattr(TrainConfig(), name)
        assert from_json(TrainConfig, {**to_json(TrainConfig()), name: "auto"}) == TrainConfig()
        with pytest.raises(ConfigError, match=rf"^{name} must be .*\bauto\b.*, got 'automatic'$"):
            TrainConfig(**{name: "automatic"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataset.txt").write_text(TEXT)

    def run(line, status=0):
        result = CliRunner().invoke(main, line.split())
        assert result.exit_code == status, result.output
        return result

    run("init --tokenizer char --embedding-degree 4 --num-heads 1 --num-layers 1 --num-tokens 4 --seed 1")
    run("train --steps 5 --decay-steps 10 --warmup-steps 3 --micro-batch-size 4 --quiet")
    kernels.set_num_threads("auto")
    free = threads.free_threads()
    kernels.set_num_threads(free + 1)
    options = "--decay-steps auto --warmup-steps auto --micro-batch-size auto --threads auto --save-every auto"
    first, *_ = run(f"train --steps 20 {options}").stderr.splitlines()
    assert threads.free_threads() == free
    assert first == "learning rate: 0.00247 at step 6, warm-up to 0.003 at step 15, linear to 3e-05 at step 25"
    stored = json.loads(run("info --json").stdout)["training"]
    assert {name: stored[name] for name in AUTO} == AUTO
    assert "warmup_steps auto, decay_steps auto" in run("info").stdout
    rewarmed = json.loads(run("train --until 45 --rewarm --json --quiet").stdout)
    assert rewarmed["learning_rate_ahead"].startswith("learning rate: 0.000327 at step 26, warm-up to 0.003 at step 35, linear")
    assert "must be auto or a whole number" in run("train --decay-steps none", status=2).stderr
    run("train --steps 1 --weight-decay-of bias=0 --quiet")
    run("train --steps 1 --weight-decay-of bias=auto --quiet")
    assert json.loads(run("info --json").stdout)["training"]["weight_decays"] == {}


def test_the_reference_preset_and_recipes_keep_the_schedule_that_they_were_recorded_with():
    from femto.experiments import reading, search

    assert PRESETS["reference"].training.schedule == "life" and learning_rate(0, PRESETS["reference"].training) == 0.0
    for preset in PRESETS:
        plans = [reading.load(name).plans.get(preset) for name in reading.numbers()]
        plans.append(search.recipe(search.SIZES["tiny"], preset, 500).plan(preset))
        for plan in filter(None, plans):
            assert {name: getattr(plan.training, name) for name in as_before(TrainConfig)} == as_before(TrainConfig)
            assert plan.training.warmup_steps == 100 or plan.steps < 1000


def test_a_strangers_history_or_state_of_the_schedule_does_no_harm():
    made = new()
    rates(made, 20)
    for wrong in (
        None,
        [],
        {"learning_rate": "x"},
        {**to_json(TrainConfig()), "schedule": []},
        {**to_json(TrainConfig()), "colour": 1},
    ):
        made.history.entries[-1]["training"] = wrong
        assert 0.0 < ahead(made, 10).first.rate <= 0.003
    for state in ({"run_start": 2**63 - 1}, {"run_end": 0}, {"run_rate": 1e3}, {"run_start": 7, "run_end": 25}):
        made.training = replace(made.training, **state)
        assert all(0.0 < rate <= 0.003 for rate in rates(made, 5))
    for wrong in ({"run_start": -1}, {"run_rate": math.nan}, {"run_end": 1.5}, {"rewarmed": 1}, {"schedule": "no"}):
        with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} must be"):
            TrainConfig(**wrong)
