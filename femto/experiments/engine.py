"""Runs a recipe in a folder of its own, stage by stage, and goes on from where it stopped.

The folder holds a checkpoint and metrics of every model, the tokenizer, a generated text, and `run.json`: which stages are done,
and which models there are. What a stage has to do follows from that and from the checkpoints, so that a run may be killed at any
moment.
"""

import fnmatch
import math
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from femto import checkpoint as checkpoints
from femto import data, growth, kernels, tokenizers
from femto.checkpoint import Checkpoint
from femto.checkpoint.history import History
from femto.config import ModelConfig
from femto.data import Dataset
from femto.errors import ConfigError, RecipeError
from femto.experiments.measures import Subject, Texts
from femto.experiments.population import ModelEvent, Task
from femto.experiments.population import train as train_all
from femto.experiments.recipe import Init, InitWith, InsertHead, InsertLayer, Keep, Recipe, Stage, Train
from femto.experiments.sources import GENERATORS, Source
from femto.experiments.state import STATE, State, folder_of, read_state
from femto.system import files, memory
from femto.system.text import counted
from femto.tokenizers import BpeTokenizer, Tokenizer
from femto.training import Step
from femto.training.metrics import Metrics, drop_unsaved
from femto.training.session import Event, Saved, Session

VOCAB_SIZE = 768  # of a tokenizer that is learnt, as `train-bpe` has it
SEEDS = 1_000_000  # that one run has for its models


@dataclass(frozen=True)
class VocabularyStarted:
    """Before the first stage, a vocabulary is learnt from the text, which takes seconds."""

    vocab_size: int


class _Stopped(Exception):
    """The run was asked to stop while a vocabulary was learnt: nothing of that is kept."""


@dataclass(frozen=True)
class StageStarted:
    """A stage begins, or goes on."""

    number: int  # from 1
    count: int
    text: str
    steps: int  # to train in it, of all models together; 0 if it trains nothing


RunEvent = VocabularyStarted | StageStarted | ModelEvent


class Run:
    """A recipe, a preset, a text and a seed, in a folder. Raises RecipeError if the folder holds anything else."""

    def __init__(
        self,
        recipe: Recipe,
        preset: str,
        folder: str | os.PathLike[str],
        source: Source,
        seed: int = 0,
        budget_minutes: float | None = None,
        side_by_side: bool = True,
        anew: bool = False,
    ) -> None:
        """budget_minutes: of training, after which each stage ends early. anew: drop what the folder holds of an earlier run."""
        self.recipe, self.preset, self.plan = recipe, preset, recipe.plan(preset)
        self.folder, self.source, self.seed = Path(folder), source, seed
        self.budget_minutes, self.side_by_side, self.anew = budget_minutes, side_by_side, anew
        self.texts = Texts(recipe.data, *source.split(recipe.held_out))
        if not self.texts.training.documents:
            raise RecipeError(f"{source.name}: nothing is left to train on; is it UTF-8?")
        if budget_minutes is not None and not 0.0 < budget_minutes < math.inf:
            raise RecipeError(f"--max-minutes must be a positive number, got {budget_minutes}")
        self.state = self._fresh() if anew else self._state()

    def _fresh(self) -> State:
        text = {
            "kind": self.recipe.data,
            "held_out": self.recipe.held_out,
            "name": self.source.name.encode("utf-8", "backslashreplace").decode(),  # a file name may be any bytes
            "bytes": self.source.num_bytes,
            "sha256": self.source.sha256,
        }
        return State(self.plan.digest, self.preset, self.seed, text)

    def _state(self) -> State:
        fresh, found = self._fresh(), read_state(self.folder)
        if found is None:
            return fresh
        for name in ("recipe", "preset", "seed", "data"):
            was, now = getattr(found, name), getattr(fresh, name)
            if name == "data":  # the same text by another name is the same text
                was = {**was, "name": now["name"]}
            if was != now:
                shown = {"recipe": "recipe", "data": "data set"}.get(name, f"{name} ({was}, not {now})")
                advice = "choose another --folder, or --force to begin anew"
                raise RecipeError(f"{self.folder}: holds a run with another {shown}; {advice}")
        if found.cut and self.budget_minutes is None:
            raise RecipeError(f"{self.folder}: it was ended early, by --max-minutes {found.budget_minutes}; --force begins anew")
        return found

    @property
    def finished(self) -> bool:
        """Whether every stage has ended."""
        return self.state.stage >= len(self.plan.stages)

    def path(self, model: str) -> Path:
        """The file of a model."""
        return self.folder / f"{model}.dat"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep others out of it."""
        try:
            files.make_folder(self.folder)
        except OSError as error:
            raise RecipeError(f"{self.folder}: cannot make the folder: {error.strerror}") from error
        with checkpoints.locked(self.folder / STATE):
            if self.anew:
                self._remove()
            self.state = self._state()  # somebody may have gone on with it meanwhile
            for name in self.state.made:
                with checkpoints.locked(self.path(name)):  # nobody works on it; and what a killed process left of it goes
                    pass
            yield

    def _remove(self) -> None:
        """Delete all that an earlier run left in the folder, and nothing else."""
        found = read_state(self.folder)
        if found is not None:
            made = [f"{name}{suffix}" for name in found.made for suffix in (".dat", ".jsonl")]
            if found.data.get("kind") in GENERATORS:
                made.append("dataset.txt")
            for name in [*made, "tokenizer.json", "verdict.json", STATE]:
                (self.folder / name).unlink(missing_ok=True)
        self.state, self.anew = self._fresh(), False
        self.state.save(self.folder)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Generator[RunEvent, None, None]:
        """All stages that are left. When `stop` says so, or the generator is closed, models are saved and a later run goes on."""
        if self.finished:
            return
        started, before = time.monotonic(), self.state.seconds
        self.state.threads, self.state.budget_minutes = kernels.num_threads(), self.budget_minutes

        def note() -> None:
            """Time and memory so far, for the case that this process is killed."""
            self.state.seconds = before + time.monotonic() - started
            self.state.peak_memory = max(self.state.peak_memory, memory.peak_bytes())
            self.state.save(self.folder)

        self.state.save(self.folder)
        try:
            if self._learns_vocabulary:
                yield VocabularyStarted(self.plan.tokenizer.get("vocab_size", VOCAB_SIZE))
            tokenizer = self._tokenizer(stop)
            dataset = data.from_documents(self.source.name, self.texts.training.documents, tokenizer, cache=True)
            held_out = None
            if self.texts.held_out.documents:
                held_out = data.from_documents(self.source.name, self.texts.held_out.documents, tokenizer, cache=True)
            while not self.finished and not stop():
                stage = self.plan.stages[self.state.stage]
                try:
                    if isinstance(stage, Train):
                        with closing(self._train(stage, dataset, held_out, stop)) as events:
                            for event in events:
                                yield event
                                if isinstance(event, ModelEvent) and isinstance(event.event, Saved):
                                    note()
                        if stop():
                            break
                    else:
                        yield StageStarted(self.state.stage + 1, len(self.plan.stages), describe(stage), 0)
                        self._change(stage, tokenizer)
                except ConfigError as error:  # settings that do not fit together, as only all of them together show
                    raise RecipeError(f"recipe {self.recipe.name}: stage {self.state.stage + 1}: {error}") from error
                self.state.stage += 1
                self.state.entry = {}
                note()
        except _Stopped:
            pass
        finally:
            note()

    def subject(self, model: str) -> Subject:
        """A model for the measures."""
        loaded = checkpoints.load(self.path(model), optimizer=False)
        return Subject(loaded, self.texts, self.state.peak_memory)

    @property
    def _learns_vocabulary(self) -> bool:
        return self.plan.tokenizer.get("kind") == "bpe" and not (self.folder / "tokenizer.json").exists()

    def _tokenizer(self, stop: Callable[[], bool]) -> Tokenizer:
        options = self.plan.tokenizer
        kind, reserve = options.get("kind", "ascii"), options.get("reserve_tokens", 0)
        path = self.folder / "tokenizer.json"
        if path.exists():
            return tokenizers.load(path)
        if self.recipe.data in GENERATORS:
            files.write_atomically(self.folder / "dataset.txt", self.source.documents)
        if kind == "bpe":

            def unless_stopped(event: object) -> None:
                if stop():
                    raise _Stopped

            texts = list(self.texts.training.documents)
            made: Tokenizer = BpeTokenizer.from_documents(texts, options.get("vocab_size", VOCAB_SIZE), show_event=unless_stopped)
            made = made.with_reserved(reserve)
        else:
            made = tokenizers.build(kind, self.texts.training.text if kind == "char" else None, reserve_tokens=reserve)
        tokenizers.save(made, path)
        return made

    def _seed(self, position: int) -> int:
        """Of a model made in the current stage; no two of a run, nor of runs with different seeds, are the same."""
        return SEEDS * self.seed + 1000 * self.state.stage + position

    def _change(self, stage: Stage, tokenizer: Tokenizer) -> None:
        """A stage that makes new models from nothing or from others, or chooses among them."""
        models = self.state.models
        if isinstance(stage, Keep):
            losses = {name: recent_loss(checkpoints.load(self.path(name), optimizer=False).history, 10) for name in models}
            self.state.models = sorted(models, key=lambda name: (losses[name], name))[: stage.best]
            return
        made: dict[str, Checkpoint] = {}
        if isinstance(stage, Init):
            for name in stage.names:
                made[name] = self._init(stage, tokenizer, self._seed(len(made)))
        elif isinstance(stage, InitWith):
            for name, parent in zip(stage.names, stage.parents, strict=True):
                seed = self._seed(len(made))
                loaded = checkpoints.load(self.of_parent(parent), optimizer=False)
                num_tokens = self.plan.model.get("num_tokens")
                made[name] = growth.init_with(loaded, tokenizer, num_tokens, seed, keep_tokens=stage.keep_tokens)
                made[name].training = replace(self.plan.training, **{"seed": seed, **stage.training})
        elif isinstance(stage, InsertLayer | InsertHead):
            for model in models:
                for name in stage.children(model):
                    seed, loaded = self._seed(len(made)), checkpoints.load(self.path(model))
                    if isinstance(stage, InsertLayer):
                        made[name] = growth.insert_layer(loaded, stage.at, seed)
                    else:
                        made[name] = growth.insert_heads(loaded, stage.count, seed)
                    made[name].training = replace(made[name].training, seed=seed)
            models = []
        for name, new in made.items():
            checkpoints.save(new, self.path(name))
        self.state.models = models + list(made)
        self.state.made = sorted({*self.state.made, *made})

    def _init(self, stage: Init, tokenizer: Tokenizer, seed: int) -> Checkpoint:
        config = ModelConfig(tokenizer.vocab_size, **self.plan.model | stage.model)
        training = replace(self.plan.training, **{"seed": seed, **stage.training})
        return checkpoints.create(config, tokenizer, training, self.preset, seed)

    def of_parent(self, parent: str) -> Path:
        """The file of a model of another experiment."""
        experiment, _, model = parent.partition("/")
        return folder_of(experiment, self.preset, self.folder.parent) / f"{model}.dat"

    def _train(
        self, stage: Train, dataset: Dataset, held_out: Dataset | None, stop: Callable[[], bool]
    ) -> Generator[StageStarted | ModelEvent, None, None]:
        chosen = fnmatch.filter(self.state.models, stage.models)
        if not chosen:
            raise RecipeError(f"recipe {self.recipe.name}: stage {self.state.stage + 1}: no model is called {stage.models}")
        reached = {name: checkpoints.load(self.path(name), optimizer=False).history.num_steps for name in chosen}
        if self.state.entry.keys() != set(chosen):
            self.state.entry = dict(reached)
            self.state.save(self.folder)
        entry = self.state.entry
        seconds = self._seconds(stage, len(chosen))
        left = sum(entry[name] + stage.steps - reached[name] for name in chosen)
        yield StageStarted(self.state.stage + 1, len(self.plan.stages), describe(stage, len(chosen)), left)
        tasks: dict[str, Task] = {name: self._task(name, entry[name], stage, dataset, held_out, seconds) for name in chosen}
        with closing(train_all(tasks, stop, self.side_by_side)) as events:
            for event in events:
                if isinstance(event.event, Step):
                    reached[event.model] = event.event.step
                yield event
        if stop():
            return
        if any(reached[name] < entry[name] + stage.steps for name in chosen):
            self.state.cut.append(self.state.stage)
        if stage.snapshot is None:
            return
        for name in chosen:
            copy = f"{name}-{stage.snapshot}"
            files.copy(self.path(name), self.path(copy))
            self.state.made = sorted({*self.state.made, copy})

    def _task(
        self, name: str, entry: int, stage: Train, dataset: Dataset, held_out: Dataset | None, seconds: float | None
    ) -> Task:
        def task(stop: Callable[[], bool]) -> Generator[Event, None, None]:
            with checkpoints.locked(self.path(name)):
                loaded = checkpoints.load(self.path(name))
                history = loaded.history
                path = self.folder / f"{name}.jsonl"
                if path.exists():
                    drop_unsaved(path, history.num_steps)
                left = entry + stage.steps - history.num_steps
                if left <= 0:
                    return
                loaded.training = replace(loaded.training, **stage.training)

                def ended() -> bool:
                    trained = history.milliseconds[entry - history.num_steps :]  # asked after a step at least
                    return stop() or (seconds is not None and float(trained.sum()) > 1000.0 * seconds)

                if history.num_steps > entry and ended():
                    return
                with open(path, "ab", buffering=0) as file:
                    metrics = Metrics(file, path.name, name)
                    session = Session(loaded, dataset, str(self.path(name)), held_out=held_out)
                    with closing(session.run(left, ended)) as events:
                        for event in events:
                            metrics.write(event)
                            yield event

        return task

    def _seconds(self, stage: Train, models: int) -> float | None:
        """What a model may train in this stage: its share of the budget by steps; side by side, models share a core less."""
        if self.budget_minutes is None:
            return None
        work = self.plan_work()
        share = 60.0 * self.budget_minutes * work[self.state.stage] / sum(work)
        abreast = min(kernels.num_threads(), models) if self.side_by_side else 1
        return share * abreast / models

    def plan_work(self) -> list[int]:
        """Steps of all models in every stage."""
        work, models = [], 0
        for stage in self.plan.stages:
            if isinstance(stage, Init):
                models += stage.count
            elif isinstance(stage, InitWith):
                models += len(stage.parents)
            elif isinstance(stage, InsertLayer):
                models *= stage.copies
            elif isinstance(stage, Keep):
                models = min(models, stage.best)
            work.append(stage.steps * models if isinstance(stage, Train) else 0)
        return work


def recent_loss(history: History, last: int) -> float:
    """Mean training loss of the last steps; infinite if there are none, so that such a model is never the best."""
    loss = history.recent_loss(last)
    return math.inf if math.isnan(loss) else loss


def describe(stage: Stage, models: int = 1) -> str:
    """A stage in words."""
    settings = ", ".join(f"{key} {value}" for part in ("model", "training") for key, value in getattr(stage, part, {}).items())
    more = f" ({settings})" if settings else ""
    if isinstance(stage, Init):
        return f"init {', '.join(stage.names)}{more}"
    if isinstance(stage, InitWith):
        return f"init-with {', '.join(stage.parents)}{' and their tokens' * stage.keep_tokens}{more}"
    if isinstance(stage, Train):
        which = f", {models} models" if models > 1 else f", {stage.models}" if stage.models != "*" else ""
        copy = f", copied as {stage.snapshot}" if stage.snapshot else ""
        return f"train {counted(stage.steps, 'step')}{which}{more}{copy}"
    if isinstance(stage, InsertLayer):
        return f"insert a layer at {stage.at}" + (f" into {stage.copies} copies" if stage.copies > 1 else "")
    if isinstance(stage, InsertHead):
        return f"insert {stage.count} head{'s' if stage.count > 1 else ''}"
    return f"keep the best {stage.best}"
