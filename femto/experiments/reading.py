"""Reads recipes: TOML files, checked as far as can be without the data. Every complaint begins with file and place."""

import json
import os
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from femto.config import PRESETS, ModelConfig, TrainConfig
from femto.errors import ConfigError, RecipeError
from femto.experiments.measures import MEASURES
from femto.experiments.recipe import (
    NAME,
    RELATIONS,
    STAGES,
    Check,
    Init,
    InitWith,
    Measured,
    Plan,
    Recipe,
    Stage,
    Train,
    defaults_of,
)
from femto.experiments.sources import GENERATORS, TEXTS
from femto.system import files, strict_json
from femto.system.text import brief
from femto.tokenizers import KINDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "recipes"
MAX_BYTES = 16 << 10  # of a recipe; some TOML takes time that grows as the square of its size
MAX_PARENTS = 100  # generations of recipes, each of which starts from the one before
LIMITS = {"count": (1, 1000), "copies": (1, 1000), "steps": (1, 2**32), "at": (0, 4096), "best": (1, 1000)}
OF_THE_RUN = {"vocab_size": "the tokenizer's: tokenizer.vocab_size", "seed": "the run's: --seed",
              "validation_split": "the recipe's: held_out",
              **dict.fromkeys(("run_start", "run_rate", "run_end", "rewarmed"), "the run's own")}  # fmt: skip


def numbers() -> list[str]:
    """The names of the recipes that femto brings along: the numbers of the journal's experiments, in order."""
    return sorted((path.stem.lstrip("0") for path in FOLDER.glob("*.toml")), key=int)


def load(name: str | os.PathLike[str]) -> Recipe:
    """A recipe by the number of its experiment, or from a file. Raises RecipeError."""
    if str(name).isdecimal():
        name = str(name).lstrip("0")
        path = FOLDER / f"{name:0>2}.toml"
        if name not in numbers():
            raise RecipeError(f"there is no experiment {name[:20]}; the journal has {numbers()[0]} to {numbers()[-1]}")
    else:
        path = Path(name)
        name = path.stem
        if name.isdecimal():
            raise RecipeError(f"{path}: file name: numbers alone are the journal's experiments; add a letter")
    try:
        document = tomllib.loads(files.read(path, MAX_BYTES).decode())
        strict_json.require_shallow(document)
    except OSError as error:
        raise RecipeError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        raise RecipeError(f"{path}: not a recipe: {str(error)[:200]}") from error
    return _Reader(str(path)).recipe(str(name), document)


def with_parents(recipe: Recipe, preset: str) -> list[Recipe]:
    """The experiments that a recipe's models start from, each before those that need it, and the recipe itself at the end.

    Another one of the journal's is found by its number, one's own beside the recipe's file. Raises RecipeError, also for a
    circle.
    """
    found: dict[str, Recipe] = {}
    _find_parents(recipe, preset, (), found)
    return list(found.values())


def _find_parents(recipe: Recipe, preset: str, above: tuple[str, ...], found: dict[str, Recipe]) -> None:
    """Add to what was found what a recipe starts from, and then itself. above: the recipes that start from it."""
    if len(above) > MAX_PARENTS:
        raise RecipeError(f"recipe {above[0]} starts from one that starts from another, and so on, more than {MAX_PARENTS} times")
    for needed in recipe.plan(preset).needs:
        if needed in (*above, recipe.name):
            raise RecipeError(f"recipe {recipe.name} starts from {needed}, which starts from it")
        if needed not in found:
            parent = load(needed if needed.isdecimal() else recipe.folder / f"{needed}.toml")
            _find_parents(parent, preset, (*above, recipe.name), found)
        models = found[needed].plan(preset).trained()
        for name in recipe.plan(preset).parents:
            if name.partition("/")[0] == needed and name.partition("/")[2] not in models:
                raise RecipeError(f"recipe {recipe.name}: {name}: that experiment makes {', '.join(models)}")
    found[recipe.name] = recipe


class _Reader:
    """Turns a parsed document into a Recipe; every complaint begins with the file and the place in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.data = "text"  # what the measures are asked of

    def fail(self, where: str, what: str) -> RecipeError:
        place = where if where.isprintable() and len(where) <= 200 else brief(where)
        return RecipeError(f"{self.path}: {place}: {what}")

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
        if head["data"] not in GENERATORS + TEXTS:
            raise self.fail("data", f"must be one of {', '.join(GENERATORS + TEXTS)}, got {brief(head['data'])}")
        if head["data"] in GENERATORS:
            head["held_out"] = 0.0
        if not 0.0 <= head["held_out"] <= 0.9:
            raise self.fail("held_out", f"must be from 0 to 0.9, got {head['held_out']}")
        shared = {key: self.take(rest, key, dict, {}) for key in ("model", "training", "tokenizer")}
        try:
            json.dumps(head["log"], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self.fail("log", str(error)) from error
        self.data = head["data"] if head["data"] in GENERATORS else "text" if head["held_out"] else "text without a held-out part"
        plans = {preset: self.plan(preset, rest.pop(preset), shared) for preset in PRESETS if preset in rest}
        if rest:
            raise self.fail(next(iter(rest)), "no such key in a recipe")
        if not plans:
            raise self.fail("modern", "missing: a recipe has [modern], [reference] or both, with stages and checks")
        return Recipe(name=name, plans=plans, folder=Path(self.path).parent, **head)

    def take(self, document: dict[str, Any], key: str, kind: Any, default: Any = MISSING) -> Any:
        if key not in document:
            if default is MISSING:
                raise self.fail(key, "missing")
            return default
        value = document.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.fail(key, f"expected {names}, got {brief(value)}")
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
        if not any(isinstance(stage, Train) for stage in stages):
            raise self.fail(f"{preset}.stages", "nothing is trained")
        self.tokenizer(f"{preset}.tokenizer", own["tokenizer"])
        if not checks:
            raise self.fail(f"{preset}.checks", "at least one is needed, to tell success from failure")
        shape = PRESETS[preset].model | own["model"]
        self.settings(f"{preset}.model", ModelConfig(256, **PRESETS[preset].model), own["model"])
        plan = Plan(tuple(stages), tuple(checks), shape, TrainConfig(), own["tokenizer"], note)
        try:
            made = plan.trained()
        except ValueError as error:
            raise self.fail(f"{preset}.stages", f"two models would be called {str(error)[:64]}; give one another name") from None
        except RecipeError as error:
            raise self.fail(f"{preset}.stages", str(error)) from None
        for model in made:
            if not NAME.fullmatch(model):
                raise self.fail(f"{preset}.stages", f"the name {model[:64]}... would be too long; 64 characters are the most")
        defaults: dict[str, Any] = {"validation_split": 0.0}
        base = defaults_of(preset)
        if preset == "modern":  # the decay ends with the run
            warmup = min(100, max(1, plan.steps // 10))
            defaults |= {"warmup_steps": warmup, "decay_steps": max(1, plan.steps - warmup)}
        self.settings(f"{preset}.training", base, own["training"])
        try:
            training = replace(base, **defaults | own["training"])
        except ConfigError as error:  # as of the number of all steps
            raise self.fail(f"{preset}.training", str(error)) from error
        for index, stage in enumerate(stages):
            if isinstance(stage, Init):
                self.settings(f"{preset}.stages[{index}].model", ModelConfig(256, **shape), stage.model)
            if isinstance(stage, Init | InitWith | Train):
                self.settings(f"{preset}.stages[{index}].training", training, stage.training)
        return replace(plan, training=training)

    def tokenizer(self, where: str, options: dict[str, Any]) -> None:
        known = {"kind": str, "vocab_size": int, "reserve_tokens": int}
        for key, value in options.items():
            if key not in known:
                raise self.fail(f"{where}.{key}", f"no such setting; there are {', '.join(known)}")
            if type(value) is not known[key]:
                raise self.fail(f"{where}.{key}", f"expected {known[key].__name__}, got {brief(value)}")
        if options.get("kind", "ascii") not in KINDS:
            raise self.fail(f"{where}.kind", f"must be one of {', '.join(KINDS)}, got {brief(options['kind'])}")

    def settings(self, where: str, base: ModelConfig | TrainConfig, changes: dict[str, Any]) -> None:
        """Refuse changes of a record that make none."""
        known = {f.name for f in fields(base)} - OF_THE_RUN.keys()
        for key in changes:
            if key in OF_THE_RUN:
                raise self.fail(f"{where}.{key}", f"is {OF_THE_RUN[key]}")
            if key not in known:
                raise self.fail(f"{where}.{key}", f"no such setting; there are {', '.join(sorted(known))}")
        try:
            replace(base, **changes)
        except ConfigError as error:
            raise self.fail(where, str(error)) from error

    def stage(self, where: str, document: object) -> Stage:
        if not isinstance(document, dict) or document.get("do") not in list(STAGES):
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
                raise self.fail(f"{where}.{key}", f"must be from {lowest} to {highest:,}, got {brief(values[key])}")
        for key in ("name", "snapshot"):
            if values.get(key) is not None and not NAME.fullmatch(values[key]):
                raise self.fail(f"{where}.{key}", "must be 1 to 64 letters, digits, hyphens and underscores")
        if values.get("parents") == []:
            raise self.fail(f"{where}.parents", "at least one is needed")
        for parent in values.get("parents", []):
            experiment, _, model = parent.partition("/") if isinstance(parent, str) else ("", "", "")
            padded = experiment.isdecimal() and experiment.startswith("0")  # 09 would be looked for apart from 9
            if padded or not (NAME.fullmatch(experiment) and NAME.fullmatch(model)):
                raise self.fail(f"{where}.parents", f"expected EXPERIMENT/MODEL, such as 38/model1, got {brief(parent)}")

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
            raise self.fail(f"{where}.{relations[0]}", f"expected a number or a measure, got {brief(right)}")
        else:
            right = self.finite(f"{where}.{relations[0]}", right)
        by, one = self.finite(f"{where}.by", self.take(rest, "by", (int, float), 0.0)), self.take(rest, "any", bool, False)
        return Check(self.measured(where, rest), relations[0], right, by, one)

    def finite(self, where: str, number: int | float) -> float:
        if not abs(number) <= sys.float_info.max:
            raise self.fail(where, f"expected a finite number, got {brief(number)}")
        return float(number)

    def measured(self, where: str, document: dict[str, Any]) -> Measured:
        rest = dict(document)
        name = self.take(rest, "measure", str)
        if name not in MEASURES:
            raise self.fail(where, f"no measure {brief(name)}; there are {', '.join(sorted(MEASURES))}")
        models = self.take(rest, "models", str, None)
        if MEASURES[name].of is not None and self.data not in (MEASURES[name].of or ()):
            raise self.fail(where, f"{name} is a measure of {' and '.join(MEASURES[name].of or ())}, not of {self.data}")
        options = MEASURES[name].options
        for key, value in rest.items():
            if key not in options:
                raise self.fail(f"{where}.{key}", f"no such option of the measure {name}")
            if type(value) is not options[key] and not (options[key] is float and type(value) is int):
                raise self.fail(f"{where}.{key}", f"expected {options[key].__name__}, got {brief(value)}")
            if type(value) is int and not 1 <= value < 2**32:
                raise self.fail(f"{where}.{key}", f"must be from 1 to {2**32 - 1:,}, got {brief(value)}")
            if type(value) is float:
                self.finite(f"{where}.{key}", value)
        for key in sorted(MEASURES[name].required - rest.keys()):
            raise self.fail(where, f"the measure {name} needs {key}")
        return Measured(name, models, rest)
