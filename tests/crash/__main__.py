"""Fails every call that changes a file, and kills at every such call and at random moments; says what that did to the files.

python tests/crash faults [--scenario NAME] [--every N]  # every write, fsync, rename ... fails in turn, in all ways of FAULTS
python tests/crash kills [--count N]                     # SIGKILL at random moments of a run, which goes on each time

Exit status 0: whatever happened, every file was the old or the new one, whole; every error was one line and exit status 1; the
next run went on to the same bytes as one that nothing happened to, and left nothing behind but what belongs there.
"""

import argparse
import errno
import hashlib
import importlib
import os
import pkgutil
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from femto.checkpoint import Checkpoint

LIBRARY = "FEMTO_FAULT_LIBRARY"  # set in the process that has it loaded

FAIL, SHORT_WRITE, KILL, KILL_WITHIN, POWER_LOSS = range(5)
FAULTS = {  # name: mode and detail, as fault.c has them
    "EIO": (FAIL, errno.EIO),
    "ENOSPC": (FAIL, errno.ENOSPC),
    "short write": (SHORT_WRITE, 0),
    "killed before": (KILL, 0),
    "killed within": (KILL_WITHIN, 0),
    "power lost, unsynced data gone": (POWER_LOSS, 0),
    "power lost, half of it there": (POWER_LOSS, 50),
    "power lost, renames undone": (POWER_LOSS, 1000),
}


@dataclass
class Scenario:
    """A command that changes files, in a folder of its own.

    state: what the files say, which raises if any is broken. again: what a user runs after a failure.
    """

    prepare: Callable[[Path], None]
    command: list[str]
    state: Callable[[Path], str]
    again: Callable[[Path], list[str]]


def small_model(steps: int) -> "Checkpoint":
    from femto import checkpoint, config, data, tokenizers
    from femto.training.session import Session

    tokenizer = tokenizers.build("byte", None)
    shape = config.ModelConfig(tokenizer.vocab_size, 16, 8, 1, 2)
    made = checkpoint.create(
        shape, tokenizer, config.TrainConfig(batch_size=4, dropout=0.1, validation_split=0.1, decay_steps=50)
    )
    for _ in Session(made, data.from_text("dataset.txt", TEXT, tokenizer), None).run(steps):
        pass
    return made


TEXT = " ".join(hashlib.sha256(bytes([number])).hexdigest()[:7] for number in range(250))
TRAIN = ["train", "--save-every", "1", "--metrics", "metrics.jsonl", "--quiet", "--validate-every", "2", "--steps"]
RECIPE = """
title = "A tiny population"
data = "simple_sequence"
[tokenizer]
kind = "ascii"
[model]
num_tokens = 8
embedding_degree = 8
num_layers = 1
num_heads = 2
[modern]
training = { batch_size = 4 }
stages = [
  { do = "init", count = 2 },
  { do = "train", steps = 2, snapshot = "early" },
  { do = "keep", best = 1 },
  { do = "insert-layer", at = 1 },
  { do = "train", steps = 2 },
]
checks = [{ measure = "training_loss", below = 100.0 }]
"""


def write_text(folder: Path) -> None:
    (folder / "dataset.txt").write_text(TEXT)


def write_model(folder: Path) -> None:
    from femto import checkpoint

    write_text(folder)
    checkpoint.save(small_model(1), folder / "model.dat")


def write_recipe(folder: Path) -> None:
    (folder / "recipe.toml").write_text(RECIPE)


def model_state(path: Path) -> str:
    """Steps, layers, and a digest of all that a step changes."""
    from femto import checkpoint

    loaded = checkpoint.load(path)
    digest = hashlib.sha256(loaded.model.parameters.tobytes() + loaded.history.losses.tobytes())
    digest.update((loaded.optimizer_sha256 or "").encode())
    return f"{loaded.history.num_steps} steps, {loaded.model.config.num_layers} layers, {digest.hexdigest()}"


def state_of(name: str) -> Callable[[Path], str]:
    return lambda folder: model_state(folder / name)


def state_of_new(name: str) -> Callable[[Path], str]:
    def state(folder: Path) -> str:
        return model_state(folder / name) if (folder / name).exists() else "none"

    return state


def state_of_tokenizer(folder: Path) -> str:
    from femto import tokenizers

    path = folder / "tokenizer.json"
    return tokenizers.to_text(tokenizers.load(path)) if path.exists() else "none"


def state_of_run(folder: Path) -> str:
    import json

    found = sorted((folder / "run").glob("*"))
    for path in found:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
    models = " ".join(f"{path.name}: {model_state(path)}" for path in found if path.suffix == ".dat")
    return models if (folder / "run" / "verdict.json").exists() else "not done"


def remaining(folder: Path) -> list[str]:
    return [*TRAIN, str(STEPS - int(model_state(folder / "model.dat").split()[0]))]


STEPS = 4
NOTHING = ["train", "--steps", "0", "--quiet"]
BPE = ["train-bpe", "--vocab-size", "24", "--quiet"]
RUN = ["experiment", "run", "recipe.toml", "--folder", "run", "--quiet", "--json"]
SHAPE = ["--num-tokens", "16", "--embedding-degree", "8", "--num-layers", "1", "--num-heads", "2", "--seed", "0"]
SCENARIOS = {
    "train": Scenario(write_model, [*TRAIN, str(STEPS - 1)], state_of("model.dat"), remaining),
    "init": Scenario(write_text, ["init", *SHAPE], state_of_new("model.dat"), lambda folder: ["init", *SHAPE, "--force"]),
    "insert-layer": Scenario(
        write_model,
        ["insert-layer", "--output", "model.dat", "--seed", "0"],
        state_of("model.dat"),
        lambda folder: NOTHING if "2 layers" in model_state(folder / "model.dat") else SCENARIOS["insert-layer"].command,
    ),
    "train-bpe": Scenario(write_text, BPE, state_of_tokenizer, lambda folder: BPE),
    "experiment": Scenario(write_recipe, RUN, state_of_run, lambda folder: RUN),
}


@dataclass
class Ended:
    """How a command ended: its exit status, negative for a signal, what it said, and the calls that were counted."""

    status: int
    said: str
    calls: list[str]


def run(command: list[str], folder: Path, call: int = 0, fault: tuple[int, int] = (FAIL, 0)) -> Ended:
    """Run a command in a child process and the given folder, with a fault at the given call."""
    import ctypes

    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        child = os.fork()
        if child == 0:
            status = 70
            try:
                os.chdir(folder)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                library = ctypes.CDLL(os.environ[LIBRARY])
                library.fault_arm(os.fsencode(folder), ctypes.c_long(call), *fault, log.fileno())
                status = command_line(command)
                if fault[0] == POWER_LOSS:
                    library.lose_power()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (output, log):
            file.seek(0)
        return Ended(status, output.read().decode(), log.read().decode().splitlines())


def load_all() -> None:
    """Import all of femto, so that no child has to."""
    import femto

    for module in pkgutil.walk_packages(femto.__path__, "femto."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def command_line(command: list[str]) -> int:
    from femto.__main__ import run as femto

    sys.argv = ["femto", *command]
    try:
        femto()
    except SystemExit as ended:
        sys.stdout.flush()
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


class Broken(AssertionError):
    """A promise that was not kept."""


def expect(kept: bool, message: str) -> None:
    if not kept:
        raise Broken(message)


def fail_every_call(name: str, every: int, work: Path) -> Counter[str]:
    """All faults at every `every`-th call of a scenario. Returns how often each fault was tried."""
    scenario = SCENARIOS[name]
    prepared, folder, kept = work / f"{name}-prepared", work / "folder", work / "folder-.old"
    prepared.mkdir()
    scenario.prepare(prepared)

    def fresh() -> None:
        for path in (folder, kept):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(prepared, folder)
        kept.mkdir()

    fresh()
    before = scenario.state(folder)
    whole = run(scenario.command, folder)
    expect(whole.status == 0, f"{name}: {whole.said}")
    after, files = scenario.state(folder), {path.relative_to(folder) for path in folder.rglob("*")}
    allowed = {before, after} if name != "train" else train_states(work)
    tried: Counter[str] = Counter()
    for call, said in enumerate([*whole.calls, "the end"], 1):
        for number, (fault, (mode, detail)) in enumerate(FAULTS.items()):
            writes = " write " in said
            if (call + number) % every or (mode in (SHORT_WRITE, KILL_WITHIN) and not writes):
                continue
            if said == "the end" and mode != POWER_LOSS:
                continue
            fresh()
            ended = run(scenario.command, folder, call, (mode, detail))
            where = f"{name}: {fault} at call {said!r}, status {ended.status}: {ended.said.strip()[-300:]}"
            expect("Traceback" not in ended.said, where)
            if mode == FAIL:
                expect(ended.status in (0, 1), where)
                expect(ended.status == 0 or ended.said.count("Error: ") == 1, where)
                expect(ended.status == 1 or scenario.state(folder) == after, where)
                expect(ended.status == 1 or not re.search(r"write .femto|rename|fsync", said), where)
                left = [path for path in folder.rglob(".femto-*") if " unlink " not in said]
                expect(not left, f"{where}: left {left}")
            elif mode == SHORT_WRITE:
                expect(ended.status == 0, where)
            else:
                expect(ended.status == -signal.SIGKILL, where)
            try:
                found = scenario.state(folder)
                expect(said != "the end" or found == after, f"{where}: what was done is lost: {found}")
                expect(name == "experiment" or found in allowed, f"{where}: neither old nor new: {found}")
                if name == "train":
                    synced = sum(line.split()[1:] == ["fsync", "/"] for line in ended.calls if int(line.split()[0]) != call)
                    expect(int(found.split()[0]) >= 1 + synced, f"{where}: {synced} saves were done, found {found}")
                again = run(scenario.again(folder), folder)
                expect(again.status == 0, f"{where}; then {again.said}")
            except Broken:
                raise
            except Exception as error:
                raise Broken(f"{where}: {type(error).__name__}: {error}") from error
            expect(scenario.state(folder) == after, f"{where}: ended with {scenario.state(folder)} instead of {after}")
            left = {path.relative_to(folder) for path in folder.rglob("*")} - files
            expect(not left, f"{where}: left behind {left}")
            tried[fault] += 1
    return tried


def train_states(work: Path) -> set[str]:
    """After each number of steps."""
    from femto import checkpoint

    states = set()
    for steps in range(1, STEPS + 1):
        checkpoint.save(small_model(steps), work / "state.dat")
        states.add(model_state(work / "state.dat"))
    return states


def kill_at_random(count: int, work: Path, seed: int) -> Counter[str]:
    """Train in processes that are killed until `count` were; then the run must be one that nothing happened to."""
    from femto import checkpoint

    chance, reached, kills = random.Random(seed), 1, 0
    found: Counter[str] = Counter()
    write_model(work)
    model = work / "model.dat"
    started = time.monotonic()
    expect(run([*TRAIN, "30"], work).status == 0, "training failed")
    longest = time.monotonic() - started
    write_model(work)
    (work / "metrics.jsonl").unlink()
    while kills < count:
        child = os.fork()
        if child == 0:
            os.chdir(work)
            os._exit(command_line([*TRAIN, "1000000"]))
        time.sleep(chance.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        expect(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "training ended by itself")
        kills += 1
        left = [path for path in work.iterdir() if path.name.startswith(".femto-")]
        expect(len(left) <= 1, f"temporary files pile up: {left}")
        found["within a save" if left else "elsewhere"] += 1
        try:
            steps = int(model_state(model).split()[0])
        except Exception as error:
            raise Broken(f"after kill {kills}: {error}") from error
        acknowledged = saved_steps(work / "metrics.jsonl")
        expect(steps >= max(reached, acknowledged), f"{steps} steps are left of {reached}, {acknowledged} were said to be saved")
        reached = steps
    expect(run([*TRAIN, "1"], work).status == 0, "the run does not go on")
    left_over = {path.name for path in work.iterdir()} - {"model.dat", "dataset.txt", "metrics.jsonl"}
    expect(not left_over, f"left behind {left_over}")
    killed = model_state(model)
    checkpoint.save(small_model(reached + 1), model)
    expect(model_state(model) == killed, "the killed run is another one than the whole one")
    found["steps"] = reached
    return found


def saved_steps(metrics: Path) -> int:
    """The last save that the metrics tell of."""
    import json

    lines = metrics.read_bytes().splitlines() if metrics.exists() else []
    saved = [json.loads(line)["step"] for line in lines if line.startswith(b'{"event": "saved"') and line.endswith(b"}")]
    return max(saved, default=0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    faults = commands.add_parser("faults")
    faults.add_argument("--scenario", choices=list(SCENARIOS), action="append")
    faults.add_argument("--every", type=int, default=1, help="take only every N-th pair of a call and a fault")
    kills = commands.add_parser("kills")
    kills.add_argument("--count", type=int, default=300)
    kills.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        if LIBRARY not in os.environ:
            library = work / "fault.so"
            source = Path(__file__).with_name("fault.c")
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
            environment = {**os.environ, LIBRARY: str(library), "LD_PRELOAD": str(library), "FEMTO_THREADS": "1"}
            again = [sys.executable, str(Path(__file__).parent), *sys.argv[1:]]
            return subprocess.run(again, env=environment, check=False).returncode
        load_all()
        try:
            if chosen.command == "kills":
                print(f"{chosen.count} kills: {dict(kill_at_random(chosen.count, work, chosen.seed))}")
            else:
                for scenario in chosen.scenario or SCENARIOS:
                    tried = fail_every_call(scenario, chosen.every, work)
                    print(f"{scenario}: {tried.total()} faults: {dict(tried)}", flush=True)
        except Broken as broken:
            print(f"BROKEN PROMISE: {broken}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
