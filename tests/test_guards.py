"""What long and unlucky runs meet: numbers that are not finite, spikes, millions of steps, too little memory."""

import math
import os
import resource
import subprocess
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import femto
from femto import checkpoint, data, tokenizers
from femto.analysis import lineage
from femto.checkpoint import history, storage
from femto.checkpoint.history import History
from femto.config import ModelConfig, TrainConfig
from femto.errors import CheckpointError, ResourceError, TrainingError
from femto.kernels import threads
from femto.optimizers.schedule import learning_rate
from femto.system import control_groups, files, memory
from femto.training.session import Session
from femto.training.spikes import Spike, SpikeDetector
from femto.training.trainer import MOST_SKIPPED, Step, Trainer

TEXT = "the quick brown fox jumps over the lazy dog; " * 40


def new(**training):
    tokenizer = tokenizers.build("char", TEXT + "X")
    config = ModelConfig(tokenizer.vocab_size, num_tokens=8, embedding_degree=16, num_layers=1, num_heads=2)
    return femto.create(config, tokenizer, TrainConfig(**{"batch_size": 2, "seed": 3, **training}))


def events_of(made, text, steps, **options):
    return list(Session(made, data.from_text("text", text, made.tokenizer), None, **options).run(steps))


def poisoned():
    """A model whose embedding of X is finite, but overflows whatever computes with it; and a text in which X is rare."""
    made = new()
    x = int(made.tokenizer.encode(b"X")[0])
    made.model.tensors["token_embedding"][x] = 3e38
    return made, TEXT[:300] + "X" + TEXT[:300]


def test_steps_that_are_not_finite_are_skipped_and_counted_when_asked_for():
    made, text = poisoned()
    with pytest.raises(TrainingError, match="or --on-non-finite skip"):
        events_of(made, text, 400)
    made, text = poisoned()
    before = made.model.parameters.copy()
    skipped = []
    for event in Session(made, data.from_text("text", text, made.tokenizer), None, on_non_finite="skip").run(400):
        if isinstance(event, Step):
            if event.skipped:
                assert (made.model.parameters == before).all()
                skipped.append(event.step)
            before[:] = made.model.parameters
    assert 4 < len(skipped) < 40
    assert np.isfinite(made.model.parameters).all() and np.isfinite(made.optimizer.state).all()
    assert made.history.num_steps == 400 and made.optimizer.step == 400
    assert made.history.entries[-1]["skipped"] == len(skipped)
    assert math.isfinite(made.history.recent_loss(400)) and made.history.recent_loss(400) < made.history.losses[0]


def test_skipped_steps_are_the_same_in_any_division_of_a_run(tmp_path):
    whole, text = poisoned()
    skipped = [event.step for event in events_of(whole, text, 200, on_non_finite="skip") if getattr(event, "skipped", False)]
    assert len(skipped) > 2 and any(step <= 120 for step in skipped) and any(step > 120 for step in skipped)
    parts, _ = poisoned()
    for steps in (120, 80):
        session = Session(parts, data.from_text("text", text, parts.tokenizer), None, on_non_finite="skip")
        with closing(session.run(200 - parts.history.num_steps)) as events:
            list(islice((event for event in events if isinstance(event, Step)), steps))
        checkpoint.save(parts, tmp_path / "model.dat")
        parts = checkpoint.load(tmp_path / "model.dat")
    assert parts.model.parameters_sha256 == whole.model.parameters_sha256
    assert parts.optimizer_sha256 == whole.optimizer_sha256
    np.testing.assert_array_equal(parts.history.losses, whole.history.losses)  # NaN where NaN


def test_a_run_of_nothing_but_skipped_steps_ends_and_so_does_one_with_broken_parameters():
    made, _ = poisoned()
    trainer = Trainer(made, data.from_text("text", "X" * 100, made.tokenizer).ids, on_non_finite="skip")
    with pytest.raises(TrainingError, match=f"as in the {MOST_SKIPPED} steps before it"):
        list(trainer.steps(100))
    assert made.history.num_steps == MOST_SKIPPED
    made.model.tensors["head_map_bias"][0] = np.nan
    with pytest.raises(TrainingError, match="tensor head_map_bias holds"):
        trainer.step()


def test_a_spike_of_the_loss_is_told_once():
    made = new(batch_size=8, learning_rate=0.01, decay_steps=0)
    spikes = []
    for event in Session(made, data.from_text("text", TEXT, made.tokenizer), None).run(150):
        spikes += [event] if isinstance(event, Spike) else []
        if isinstance(event, Step) and event.step == 120:
            made.model.tensors["head_map_weights"][...] *= -1  # it says the contrary of what it has learnt
    assert [spike.step for spike in spikes] == [121]
    assert spikes[0].usual < 1 < spikes[0].loss - 1
    other = data.from_text("other", "xjqzvkwypfgbm" * 99, made.tokenizer)  # whose loss is higher, which is no spike
    assert not [event for event in Session(made, other, None).run(30) if isinstance(event, Spike)]


def test_a_detector_passes_noise_tells_spikes_and_forgives_a_new_level():
    losses = np.random.default_rng(0).normal(2.0, 0.1, 20_000)
    losses[12_000:12_003] = 3.2
    losses[15_000:] += 2.0
    detector = SpikeDetector()
    assert [spike.step for step, loss in enumerate(losses) if (spike := detector.add(step, loss))] == [12_000, 15_000]
    falling = SpikeDetector()
    assert not any(falling.add(step, 5 * 0.999**step + noise) for step, noise in enumerate(losses[:10_000] - 2))
    assert SpikeDetector().add(1, math.nan) is None


def test_the_learning_rate_decays_to_the_end_of_each_run_unless_told_otherwise(tmp_path):
    before = {"warmup_steps": 100, "schedule": "life"}
    made = new(batch_size=2, **before)
    events = [event for event in events_of(made, TEXT, 150) if isinstance(event, Step)]
    rates = [event.learning_rate for event in events]
    assert rates[100] == max(rates) == 0.003
    assert rates[-1] == learning_rate(149, TrainConfig(decay_steps=50, **before)) < 0.0001
    assert made.history.entries[-1]["training"]["decay_steps"] == 50  # the history says what was done
    checkpoint.save(made, tmp_path / "model.dat")
    more = events_of(checkpoint.load(tmp_path / "model.dat"), TEXT, 50)
    assert more[0].learning_rate == learning_rate(150, TrainConfig(decay_steps=100, **before)) > 0.0014
    told = new(decay_steps=20)
    assert [event for event in events_of(told, TEXT, 150) if isinstance(event, Step)][
        -1
    ].learning_rate == told.training.min_learning_rate


def test_a_long_life_keeps_the_losses_of_its_last_steps(tmp_path, monkeypatch):
    whole = new(decay_steps=50)
    events_of(whole, TEXT, 130)
    losses = whole.history.losses.copy()
    for module in (history, storage):
        monkeypatch.setattr(module, "KEPT_STEPS", 40)
    parts, path = new(decay_steps=50), tmp_path / "model.dat"
    fork = parts
    for steps in (30, 25, 75):
        events_of(parts, TEXT, steps)
        checkpoint.save(parts, path)
        parts = checkpoint.load(path)
        fork = fork if steps == 75 else checkpoint.load(path)
    assert parts.model.parameters_sha256 == whole.model.parameters_sha256
    assert parts.history.num_steps == 130 and [entry["steps"] for entry in parts.history.sessions()] == [30, 25, 75]
    assert (parts.history.losses == losses[-40:]).all() and len(parts.history.milliseconds) == 40
    assert (parts.history.losses_of(85, 10) == losses[90:95]).all()
    assert len(parts.history.losses_of(0, 30)) == 0
    related = lineage.relation(fork.history, parts.history)
    assert (related.kind, lineage.number_of_steps(related.common), lineage.number_of_steps(related.second)) == ("parent", 55, 75)


def test_a_history_takes_no_more_memory_after_millions_of_steps(monkeypatch):
    monkeypatch.setattr(history, "KEPT_STEPS", 1 << 12)
    long = History()
    long.start_session()
    for step in range(50_000):
        long.add_step(float(step), 1.0)
    assert long._losses.nbytes <= 4 * 2 * history.KEPT_STEPS
    assert long.num_steps == 50_000 and (long.losses == np.arange(50_000 - history.KEPT_STEPS, 50_000)).all()


def test_what_does_not_fit_is_refused_with_the_numbers(monkeypatch):
    there = memory.available()
    assert 1 << 20 < there < 1 << 50
    memory.require({"all of it": there // 2}, "half", "")
    with pytest.raises(ResourceError, match=r"^twice needs .* GiB of memory \(one .*, two .*\), but .* are free; take less$"):
        memory.require({"one": there, "two": there, "none": 0}, "twice", "take less")
    monkeypatch.setattr(memory, "available", lambda: 20_000)
    made = new()
    with pytest.raises(
        ResourceError, match=r"training this model .* \(gradients of 2 parts 33.2 KiB, AdamW's state 33.2 KiB, activ"
    ):
        Trainer(made, data.from_text("text", TEXT, made.tokenizer).ids)
    assert made.optimizer is None


@pytest.mark.parametrize(
    ("line", "folder", "names", "stat"),
    [
        ("0::/jobs/mine", "jobs", ("memory.max", "memory.current"), "active_file 400000\ninactive_file 600000\n"),
        (
            "4:memory:/jobs/mine",
            "memory/jobs",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "total_inactive_file 1000000\n",
        ),
    ],
)
def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch, line, folder, names, stat):
    (tmp_path / "cgroup").write_text(f"11:cpu:/\n{line}\n")
    (tmp_path / folder / "mine").mkdir(parents=True)  # its own has no limit, the one above it has
    limit = tmp_path / folder / names[0]
    limit.write_text("5000000\n")
    (tmp_path / folder / names[1]).write_text("3000000\n")
    (tmp_path / folder / "memory.stat").write_text("anon 7\n" + stat)
    monkeypatch.setattr(control_groups, "OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    swap = 1024 * (memory._number(control_groups.text("/proc/meminfo"), "SwapFree:") or 0)
    assert memory.available() == 3_000_000 + swap
    limit.write_text("max\n")
    assert memory.available() > 3_000_000 + swap


@pytest.mark.parametrize(
    ("line", "files", "cpus"),
    [
        ("0::/a/b", {"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "max 100000\n"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "cpu.max": "800000 100000"}, 2),
        ("0::/", {"cpu.max": "300000 100000\n"}, 3),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, None),
        ("4:cpu,cpuacct:/a", {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ("4:memory:/a", {"cpu.max": "100000 100000\n"}, None),
        ("0::/a", {"a/cpu.max": "nonsense"}, None),
    ],
)
def test_the_cpus_of_nested_control_groups_limit_the_threads(tmp_path, monkeypatch, line, files, cpus):
    (tmp_path / "cgroup").write_text(f"7:pids:/a\n{line}\n")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(control_groups, "OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    for variable in ("FEMTO_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    assert threads._cgroup_quota() == cpus
    assert threads.default_num_threads() == min(threads._physical_cores(), cpus or 10**6)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says how much of the limit is taken")
def test_a_limit_of_the_process_counts():
    code = "from femto.system import memory; print(memory.available())"
    limit = 3 << 30

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limited, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < limit


def test_a_model_with_a_number_that_is_not_finite_is_neither_trained_nor_saved(tmp_path):
    path = tmp_path / "model.dat"
    made = new()
    checkpoint.save(made, path)
    x = int(made.tokenizer.encode(b"X")[0])
    made.model.tensors["token_embedding"][x] = np.nan  # of a token that the text lacks, so that no loss shows it
    session = Session(made, data.from_text("text", TEXT, made.tokenizer), str(path))
    with pytest.raises(TrainingError, match="step 1: tensor token_embedding holds"):
        list(session.run(5))
    made.model.tensors["token_embedding"][x] = 3e38  # whose square overflows, but which is a number
    events = session.run(5)
    next(events)
    made.model.tensors["token_embedding"][x] = np.inf
    with pytest.raises(TrainingError, match="step 1: tensor token_embedding holds"):
        events.close()  # which saves
    assert checkpoint.load(path).history.num_steps == 0


def test_something_else_of_the_name_of_a_lock_is_never_touched(tmp_path):
    model, lock, precious = tmp_path / "model.dat", tmp_path / ".model.dat.lock", tmp_path / "precious"
    checkpoint.save(new(), model)
    precious.write_text("not a number")

    def refused(reason):
        with pytest.raises(CheckpointError, match=rf"model.dat: .model.dat.lock cannot be its lock: {reason}.*; move it away"):
            checkpoint.locked(model).__enter__()
        assert precious.read_text() == "not a number"
        lock.rmdir() if lock.is_dir() and not lock.is_symlink() else lock.unlink()

    for target in ("precious", "model.dat", "nowhere"):
        lock.symlink_to(target)
        refused("it is a link")
    lock.hardlink_to(precious)
    refused("it is no lock of femto's")
    lock.write_text("my notes")
    refused("it is no lock of femto's")
    lock.mkdir()
    refused("it is a folder")
    os.mkfifo(lock)
    refused("it is no lock of femto's")
    assert not (tmp_path / "nowhere").exists()
    checkpoint.load(model)


def test_a_lock_is_removed_by_whom_it_belongs_to_and_is_there_for_the_longest_name(tmp_path):
    model = tmp_path / "model.dat"
    with checkpoint.locked(model):
        (tmp_path / ".model.dat.lock").unlink()  # by somebody
        (tmp_path / ".model.dat.lock").write_text("1")  # of another process, as it were
    assert (tmp_path / ".model.dat.lock").exists()
    (tmp_path / ".model.dat.lock").chmod(0o444)  # of another user, who may not be root, as these tests may be
    with checkpoint.locked(model), pytest.raises(CheckpointError, match="in use by process"):
        checkpoint.locked(model).__enter__()
    longest = tmp_path / ("m" * 255)
    with checkpoint.locked(longest), pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"):
        checkpoint.locked(longest).__enter__()
    assert not list(tmp_path.iterdir())
    with checkpoint.locked("/"):
        pass


def test_many_writers_of_one_file_never_fail_each_other(tmp_path):
    code = "import sys\nfrom femto.system.files import write_atomically as w\nfor i in range(400): w(sys.argv[1], [b'x' * i])"
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x")], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    abandoned = tmp_path / f"{files._prefix(tmp_path / 'x')}{'0' * 16}.tmp"
    abandoned.touch(0o444)  # of a process that was killed, for a file that may not be written
    files.write_atomically(tmp_path / "x", [b"y"])
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
