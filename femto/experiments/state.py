"""How far a run is: `run.json`, which together with the checkpoints tells what is left to do."""

import json
import math
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from femto.errors import RecipeError
from femto.experiments.recipe import Recipe
from femto.system import files, strict_json
from femto.system.text import brief

STATE = "run.json"
MAX_BYTES = 16 << 20  # of it
FILE = re.compile(r"[A-Za-z0-9_-]{1,200}")  # with an ending, less than the 255 bytes of a file name


@dataclass
class State:
    """What `run.json` holds: what was asked, and how far it is."""

    recipe: str  # digest of its plan
    preset: str
    seed: int
    data: dict[str, Any]  # kind, held_out, name, bytes, sha256
    stage: int = 0  # stages that are done
    models: list[str] = field(default_factory=list)  # those that the next stage works on
    made: list[str] = field(default_factory=list)  # all that there are files of
    entry: dict[str, int] = field(default_factory=dict)  # steps that each of them had when the current stage began
    seconds: float = 0.0  # wall-clock time of all that was done
    threads: int = 0  # of the kernels, when it was last trained
    peak_memory: int = 0  # bytes that a process that trained held at most
    cut: list[int] = field(default_factory=list)  # stages that a budget ended early
    budget_minutes: float | None = None  # that did so

    def __post_init__(self) -> None:
        lists, objects = (self.models, self.made, self.cut), (self.data, self.entry)
        if not all(isinstance(each, list) for each in lists) or not all(isinstance(each, dict) for each in objects):
            raise ValueError("not the state of a run")
        names = [*self.models, *self.made, *self.entry]
        numbers = [self.seed, self.stage, *self.cut, *self.entry.values(), self.threads, self.peak_memory]
        times = [self.seconds, 0.0 if self.budget_minutes is None else self.budget_minutes]
        good = all(isinstance(text, str) for text in (self.recipe, self.preset, *names)) and all(map(FILE.fullmatch, names))
        good = good and all(type(number) is int and 0 <= number < 2**63 for number in numbers)
        if not good or not all(type(time) in (int, float) and 0 <= time < math.inf for time in times):
            raise ValueError("not the state of a run")
        self.to_json()

    def to_json(self) -> bytes:
        """What `save` writes. Raises ValueError if that would not be UTF-8."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False).encode() + b"\n"

    def save(self, folder: Path) -> None:
        """Write it atomically. Raises RecipeError."""
        try:
            files.write_atomically(folder / STATE, [self.to_json()])
        except OSError as error:
            raise RecipeError(f"{folder / STATE}: cannot write: {error.strerror}") from error


def read_state(folder: Path) -> State | None:
    """The state that a folder holds; None if there is no folder, or nothing in it. Raises RecipeError if it is no run's."""
    path = folder / STATE
    try:
        document = strict_json.parse(files.read(path, MAX_BYTES))
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        unknown = document.keys() - {known.name for known in fields(State)}
        if unknown:
            raise ValueError(f"no field {brief(min(unknown))} is known; was it written by a newer femto?")
        return State(**document)
    except FileNotFoundError:
        if folder.is_dir() and any(not name.startswith(".") for name in os.listdir(folder)):
            raise RecipeError(f"{folder}: holds other things than a run; choose another --folder") from None
        return None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}; choose another --folder") from error
    except (ValueError, TypeError) as error:  # the latter: a field is missing
        raise RecipeError(f"{path}: cannot be read: {error}; choose another --folder") from error


def is_done(recipe: Recipe, preset: str, folder: Path, cut: bool = False) -> bool:
    """Whether a folder holds a finished run of a recipe, on whatever text and seed: others may start from its models.

    cut: also one that a budget ended early.
    """
    found, plan = read_state(folder), recipe.plan(preset)
    return found is not None and found.recipe == plan.digest and found.stage == len(plan.stages) and (cut or not found.cut)


def folder_of(experiment: str, preset: str, root: Path = Path("experiments")) -> Path:
    """Where an experiment runs; one that others start from is looked for beside them."""
    return root / f"{experiment}-{preset}"
