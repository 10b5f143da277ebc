"""A recipe: which data, which models, what is done to them in which order, and when that counts as a success.

Recipes are TOML files; docs/experiments.md of the source explains every key. Everything is checked when the file is read.
"""

import hashlib
import json
import os
import re
import sys
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from femto.config import PRESETS, ModelConfig, TrainConfig
from femto.errors import ConfigError, RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "recipes"
LIMITS = {"count": (1, 1000), "copies": (1, 1000), "steps": (1, 2**32), "at": (0, 4096), "best": (1, 1000)}
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def numbered(name: str, count: int) -> list[str]:
    """NAME, or NAME1, NAME2, ... if there are several."""
    return [name] if count == 1 else [f"{name}{number}" for number in range(1, count + 1)]


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


@dataclass(frozen=True)
class InsertHead:
    """Replaces every model by a wider one, MODEL-wide; the file of the parent stays."""

    do: ClassVar[str] = "insert-head"
    count: int = 1


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

    All models must meet it (and against all the others), or one of them if `any`.
    """

    left: Measured
    relation: str  # one of RELATIONS
    right: float | Measured
    by: float = 0.0  # and by how much it must be so: for `below` and `at_most` less than the right, else more
    any: bool = False


RELATIONS = ("at_most", "at_least", "below", "above")


@dataclass(frozen=True)
class Plan:
    """What a preset makes of a recipe."""

    stages: tuple[Stage, ...]
    checks: tuple[Check, ...]
    model: dict[str, Any]  # fields of ModelConfig but vocab_size
    training: TrainConfig
    tokenizer: dict[str, Any]  # kind, and vocab_size and reserve_tokens
    note: str = ""  # in which way it differs from the log's settings, and why

    @property
    def steps(self) -> int:
        """Steps that a model which goes through all stages is trained for."""
        return sum(stage.steps for stage in self.stages if isinstance(stage, Train))

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what is trained: not of the checks and words, which may be changed later."""
        stages = [[stage.do, asdict(stage)] for stage in self.stages]
        document = [stages, self.model, asdict(self.training), self.tokenizer]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @property
    def needs(self) -> list[str]:
        """The experiments whose models it starts from."""
        parents = [parent for stage in self.stages if isinstance(stage, InitWith) for parent in stage.parents]
        return sorted({parent.partition("/")[0] for parent in parents})


@dataclass(frozen=True)
class Recipe:
    """An experiment: of the log, or somebody's own."""

    name: str  # number in the log, or the file's name
    title: str
    data: str  # a kind of `femto.experiments.sources`
    held_out: float  # last share of a text that is not trained on
    plans: dict[str, Plan]  # by preset
    log: dict[str, Any]  # what the log says: verdict, loss, steps, seconds, question, ...
    criterion: str  # in words
    answer: str  # to the author's question; {N.PRESET.FIGURE} stands for a recorded figure

    def plan(self, preset: str) -> Plan:
        """Raises RecipeError if the recipe has no such plan."""
        if preset not in self.plans:
            raise RecipeError(f"recipe {self.name} has no plan for --preset {preset}, only {', '.join(self.plans)}")
        return self.plans[preset]


def numbers() -> list[str]:
    """The names of the recipes that femto brings along: the numbers of the log's experiments, in order."""
    return sorted((path.stem.lstrip("0") for path in FOLDER.glob("*.toml")), key=int)


def load(name: str | os.PathLike[str]) -> Recipe:
    """A recipe by the number of its experiment, or from a file. Raises RecipeError."""
    if str(name).isdecimal():
        path = FOLDER / f"{int(str(name)):02d}.toml"
        if not path.is_file():
            raise RecipeError(f"there is no experiment {name}; the log has {numbers()[0]} to {numbers()[-1]}")
        name = str(int(str(name)))
    else:
        path = Path(name)
        name = path.stem
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"{path}: not a file")
        text = path.read_bytes().decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        raise RecipeError(f"{path}: not a recipe: {error}") from error
    return _Reader(str(path)).recipe(str(name), document)


class _Reader:
    """Turns a parsed document into a Recipe; every complaint begins with the file and the place in it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def fail(self, where: str, what: str) -> RecipeError:
        return RecipeError(f"{self.path}: {where}: {what}")

    def recipe(self, name: str, document: dict[str, Any]) -> Recipe:
        if not NAME.fullmatch(name):
            raise self.fail("file name", "a recipe is called by 1 to 64 letters, digits, hyphens and underscores")
        rest = dict(document)
        head = {
            "title": self.take(rest, "title", str, name),
            "data": self.take(rest, "data", str),
            "held_out": self.take(rest, "held_out", (int, float), 0.1),
            "log": self.take(rest, "log", dict, {}),
            "criterion": self.take(rest, "criterion", str, ""),
            "answer": self.take(rest, "answer", str, ""),
        }
        if not 0.0 <= head["held_out"] <= 0.9:
            raise self.fail("held_out", f"must be from 0 to 0.9, got {head['held_out']}")
        shared = {key: self.take(rest, key, dict, {}) for key in ("model", "training", "tokenizer")}
        plans = {preset: self.plan(preset, rest.pop(preset), shared) for preset in PRESETS if preset in rest}
        if rest:
            raise self.fail(next(iter(rest)), "no such key in a recipe")
        if not plans:
            raise self.fail("modern", "missing: a recipe has [modern], [reference] or both, with stages and checks")
        return Recipe(name=name, plans=plans, **head)

    def take(self, document: dict[str, Any], key: str, kind: Any, default: Any = MISSING) -> Any:
        if key not in document:
            if default is MISSING:
                raise self.fail(key, "missing")
            return default
        value = document.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.fail(key, f"expected {names}, got {value!r}")
        return value

    def plan(self, preset: str, document: object, shared: dict[str, dict[str, Any]]) -> Plan:
        if not isinstance(document, dict):
            raise self.fail(preset, "expected a table")
        rest = dict(document)
        own = {key: shared[key] | self.take(rest, key, dict, {}) for key in shared}
        stages = [self.stage(f"{preset}.stages[{i}]", stage) for i, stage in enumerate(self.take(rest, "stages", list))]
        checks = [self.check(f"{preset}.checks[{i}]", check) for i, check in enumerate(self.take(rest, "checks", list))]
        note = self.take(rest, "note", str, "")
        if rest:
            raise self.fail(f"{preset}.{next(iter(rest))}", "no such key in a plan")
        if not stages or not isinstance(stages[0], Init | InitWith):
            raise self.fail(f"{preset}.stages", "must begin with init or init-with")
        made = [name for stage in stages if isinstance(stage, Init | InitWith) for name in stage.names]
        for name in made:
            if made.count(name) > 1:
                raise self.fail(f"{preset}.stages", f"two models would be called {name}; give one a name")
        self.tokenizer(f"{preset}.tokenizer", own["tokenizer"])
        if not checks:
            raise self.fail(f"{preset}.checks", "at least one is needed, to tell success from failure")
        self.check_settings(f"{preset}.model", ModelConfig, own["model"])
        if "vocab_size" in own["model"]:
            raise self.fail(f"{preset}.model.vocab_size", "is the tokenizer's: set tokenizer.vocab_size")
        plan = Plan(tuple(stages), tuple(checks), PRESETS[preset].model | own["model"], TrainConfig(), own["tokenizer"], note)
        defaults: dict[str, Any] = {"validation_split": 0.0}
        if preset == "modern":  # the decay ends with the run
            base = PRESETS[preset].training
            warmup = min(base.warmup_steps, max(1, plan.steps // 10))
            defaults |= {"warmup_steps": warmup, "decay_steps": max(1, plan.steps - warmup)}
        training = self.training(f"{preset}.training", PRESETS[preset].training, defaults | own["training"])
        return Plan(plan.stages, plan.checks, plan.model, training, plan.tokenizer, note)

    def tokenizer(self, where: str, options: dict[str, Any]) -> None:
        known = {"kind": str, "vocab_size": int, "reserve_tokens": int}
        for key, value in options.items():
            if key not in known:
                raise self.fail(f"{where}.{key}", f"no such setting; there are {', '.join(known)}")
            if type(value) is not known[key]:
                raise self.fail(f"{where}.{key}", f"expected {known[key].__name__}, got {value!r}")

    def training(self, where: str, base: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
        self.check_settings(where, TrainConfig, changes)
        try:
            return TrainConfig(**{**{f.name: getattr(base, f.name) for f in fields(base)}, **changes})
        except ConfigError as error:
            raise self.fail(where, str(error)) from error

    def check_settings(self, where: str, kind: type[Any], settings: dict[str, Any]) -> None:
        known = {f.name for f in fields(kind)}
        for key in settings:
            if key not in known:
                raise self.fail(f"{where}.{key}", f"no such setting; there are {', '.join(sorted(known))}")

    def stage(self, where: str, document: object) -> Stage:
        if not isinstance(document, dict) or document.get("do") not in STAGES:
            raise self.fail(where, f"`do` must be one of {', '.join(STAGES)}")
        kind = STAGES[document["do"]]
        rest = {key: value for key, value in document.items() if key != "do"}
        values: dict[str, Any] = {}
        for known in fields(kind):
            default = known.default if known.default_factory is MISSING else known.default_factory()
            types: dict[Any, Any] = {dict[str, Any]: dict, list[str]: list, str | None: str}
            kinds = types.get(known.type, known.type)
            try:
                values[known.name] = self.take(rest, known.name, kinds, default)
            except RecipeError as error:
                raise self.fail(where, str(error).removeprefix(f"{self.path}: ")) from None
        if rest:
            raise self.fail(f"{where}.{next(iter(rest))}", f"no such key in a stage `{kind.do}`")
        self.check_stage(where, values)
        stage: Stage = kind(**values)
        return stage

    def check_stage(self, where: str, values: dict[str, Any]) -> None:
        for key, (lowest, highest) in LIMITS.items():
            if key in values and not lowest <= values[key] <= highest:
                raise self.fail(f"{where}.{key}", f"must be from {lowest} to {highest:,}, got {values[key]}")
        for key in ("name", "snapshot"):
            if values.get(key) is not None and not NAME.fullmatch(values[key]):
                raise self.fail(f"{where}.{key}", "must be 1 to 64 letters, digits, hyphens and underscores")
        if values.get("parents") == []:
            raise self.fail(f"{where}.parents", "at least one is needed")
        for parent in values.get("parents", []):
            experiment, _, model = parent.partition("/") if isinstance(parent, str) else ("", "", "")
            if not (NAME.fullmatch(experiment) and NAME.fullmatch(model)):
                raise self.fail(f"{where}.parents", f"expected EXPERIMENT/MODEL, such as 38/model1, got {parent!r}")
        if "model" in values:
            self.check_settings(f"{where}.model", ModelConfig, values["model"])
        if "training" in values:
            self.check_settings(f"{where}.training", TrainConfig, values["training"])

    def check(self, where: str, document: object) -> Check:
        if not isinstance(document, dict):
            raise self.fail(where, "expected a table")
        rest = dict(document)
        relations = [relation for relation in RELATIONS if relation in rest]
        if len(relations) != 1:
            raise self.fail(where, f"exactly one of {', '.join(RELATIONS)} is needed")
        right = rest.pop(relations[0])
        if isinstance(right, dict):
            right = self.measured(f"{where}.{relations[0]}", right)
        elif isinstance(right, bool) or not isinstance(right, int | float):
            raise self.fail(f"{where}.{relations[0]}", f"expected a number or a measure, got {right!r}")
        by, one = float(self.take(rest, "by", (int, float), 0.0)), self.take(rest, "any", bool, False)
        return Check(self.measured(where, rest), relations[0], right if isinstance(right, Measured) else float(right), by, one)

    def measured(self, where: str, document: dict[str, Any]) -> Measured:
        from femto.experiments.measures import MEASURES

        rest = dict(document)
        name = self.take(rest, "measure", str)
        if name not in MEASURES:
            raise self.fail(where, f"no measure {name!r}; there are {', '.join(sorted(MEASURES))}")
        models = self.take(rest, "models", str, None)
        options = MEASURES[name].options
        for key, value in rest.items():
            if key not in options:
                raise self.fail(f"{where}.{key}", f"no such option of the measure {name}")
            if not isinstance(value, options[key]):
                raise self.fail(f"{where}.{key}", f"expected {options[key].__name__}, got {value!r}")
        for key in sorted(MEASURES[name].required - rest.keys()):
            raise self.fail(where, f"the measure {name} needs {key}")
        return Measured(name, models, rest)
