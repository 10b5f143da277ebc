"""A recipe: which data, which models, what is done to them in which order, and when that counts as a success.

Recipes are TOML files, which `reading.py` reads; docs/recipes.md of the source explains every key.
"""

import fnmatch
import hashlib
import json
import operator
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from femto.config import PRESETS, ModelConfig, TrainConfig, added, as_before, without_as_before
from femto.errors import RecipeError

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_MODELS = 10_000  # of a run


def numbered(name: str, count: int) -> list[str]:
    """NAME, or NAME1, NAME2, ... if there are several."""
    return [name] if count == 1 else [f"{name}{number}" for number in range(1, count + 1)]


def defaults_of(preset: str) -> TrainConfig:
    """The settings of training that a recipe changes: those of the preset, without what came after the first recipes."""
    return replace(PRESETS[preset].training, **as_before(TrainConfig), warmup_steps=100)


@dataclass(frozen=True)
class Init:
    """New models, from nothing: NAME, or NAME1, NAME2, ... if there are several."""

    do: ClassVar[str] = "init"
    name: str = "model"
    count: int = 1
    model: dict[str, Any] = field(default_factory=dict)  # fields of ModelConfig that differ from the recipe's
    training: dict[str, Any] = field(default_factory=dict)  # fields of TrainConfig

    @property
    def names(self) -> list[str]:
        return numbered(self.name, self.count)


@dataclass(frozen=True)
class InitWith:
    """New models from those of another experiment, each with the vocabulary of this one; NAME as for `init`."""

    do: ClassVar[str] = "init-with"
    parents: list[str]  # "38/model1-ext1", of the same preset
    name: str = "inherited"
    training: dict[str, Any] = field(default_factory=dict)
    keep_tokens: bool = added(False)  # keep the embeddings of tokens that both vocabularies have; the journal never did

    @property
    def names(self) -> list[str]:
        return numbered(self.name, len(self.parents))


@dataclass(frozen=True)
class Train:
    """Trains all models, or those whose names match a pattern."""

    do: ClassVar[str] = "train"
    steps: int
    models: str = "*"
    training: dict[str, Any] = field(default_factory=dict)
    snapshot: str | None = None  # afterwards a copy of each file is kept as MODEL-SNAPSHOT


@dataclass(frozen=True)
class InsertLayer:
    """Replaces every model by `copies` deeper ones, MODEL-ext or MODEL-ext1, MODEL-ext2, ...; the file of the parent stays."""

    do: ClassVar[str] = "insert-layer"
    at: int
    copies: int = 1

    def children(self, model: str) -> list[str]:
        return numbered(f"{model}-ext", self.copies)


@dataclass(frozen=True)
class InsertHead:
    """Replaces every model by a wider one, MODEL-wide; the file of the parent stays."""

    do: ClassVar[str] = "insert-head"
    count: int = 1

    def children(self, model: str) -> list[str]:
        return [f"{model}-wide"]


@dataclass(frozen=True)
class Keep:
    """Goes on with the models that have the lowest training loss, the mean of their last ten steps."""

    do: ClassVar[str] = "keep"
    best: int


Stage = Init | InitWith | Train | InsertLayer | InsertHead | Keep
STAGES: dict[str, type[Any]] = {stage.do: stage for stage in (Init, InitWith, Train, InsertLayer, InsertHead, Keep)}


@dataclass(frozen=True)
class Measured:
    """A figure of some models: a measure of `femto.experiments.measures`, and which models it is taken of."""

    measure: str
    models: str | None = None  # pattern of names, of all models that the run made; default: those of the last stage
    options: dict[str, Any] = field(default_factory=dict)  # of the measure


@dataclass(frozen=True)
class Check:
    """A condition: the figure is at most, at least, below or above a number, or a figure of other models.

    All models must meet it, or one of them if `any`; in either case against all of the others.
    """

    left: Measured
    relation: str  # one of RELATIONS
    right: float | Measured
    by: float = 0.0  # and by how much it must be so: for `below` and `at_most` less than the right, else more
    any: bool = False


RELATIONS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "at_most": ("≤", operator.le),
    "at_least": ("≥", operator.ge),
    "below": ("<", operator.lt),
    "above": (">", operator.gt),
}


@dataclass(frozen=True)
class Plan:
    """What a preset makes of a recipe."""

    stages: tuple[Stage, ...]
    checks: tuple[Check, ...]
    model: dict[str, Any]  # fields of ModelConfig but vocab_size
    training: TrainConfig
    tokenizer: dict[str, Any]  # kind, and vocab_size and reserve_tokens
    note: str = ""  # in which way it differs from the journal's settings, and why

    @property
    def steps(self) -> int:
        """The most steps that a model is trained for: of those that every stage's pattern takes."""
        return max(self.trained().values())

    def trained(self) -> dict[str, int]:
        """Every model that is ever made, and the steps that it has at the end; as if `keep` kept all. Raises ValueError if two
        would have the same name, which is its message, and RecipeError if they are more than MAX_MODELS."""
        living: dict[str, int] = {}
        made: dict[str, int] = {}

        def make(name: str, steps: int, of: dict[str, int] = living) -> None:
            if name in made or name in living:
                raise ValueError(name)
            if len(made) + len(living) >= MAX_MODELS:
                raise RecipeError(f"more than {MAX_MODELS:,} models would be made")
            of[name] = steps

        for stage in self.stages:
            if isinstance(stage, Init | InitWith):
                for name in stage.names:
                    make(name, 0)
            elif isinstance(stage, Train):
                for name in fnmatch.filter(living, stage.models):
                    living[name] += stage.steps
                    if stage.snapshot is not None:
                        make(f"{name}-{stage.snapshot}", living[name], made)
            elif isinstance(stage, InsertLayer | InsertHead):
                for name, steps in list(living.items()):
                    made[name] = living.pop(name)
                    for child in stage.children(name):
                        make(child, steps)
        return made | living

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what is trained: not of the checks and words, which may be changed later."""
        stages = []
        for stage in self.stages:
            values = without_as_before(type(stage), asdict(stage))
            for key, kind in (("model", ModelConfig), ("training", TrainConfig)):
                if key in values:
                    values[key] = without_as_before(kind, values[key])
            stages.append([stage.do, values])
        model, training = without_as_before(ModelConfig, self.model), without_as_before(TrainConfig, asdict(self.training))
        document = [stages, model, training, self.tokenizer]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @property
    def needs(self) -> list[str]:
        """The experiments whose models it starts from."""
        return sorted({parent.partition("/")[0] for parent in self.parents})

    @property
    def parents(self) -> list[str]:
        """The models of other experiments that it starts from, as EXPERIMENT/MODEL."""
        return [parent for stage in self.stages if isinstance(stage, InitWith) for parent in stage.parents]


@dataclass(frozen=True)
class Recipe:
    """An experiment: of the journal, or somebody's own."""

    name: str  # number in the journal, or the file's name
    title: str
    data: str  # a kind of `femto.experiments.sources`
    held_out: float  # last share of a text that is not trained on
    plans: dict[str, Plan]  # by preset
    log: dict[str, Any]  # what the journal says: verdict, loss, steps, seconds, question, ...
    criterion: str  # in words
    answer: str  # to the author's question; {N.PRESET.FIGURE} stands for a recorded figure
    folder: Path  # where it was read from

    def plan(self, preset: str) -> Plan:
        """Raises RecipeError if the recipe has no such plan."""
        if preset not in self.plans:
            raise RecipeError(f"recipe {self.name} has no plan for --preset {preset}, only {', '.join(self.plans)}")
        return self.plans[preset]
