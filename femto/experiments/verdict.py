"""Whether a run met the criterion of its recipe: every figure that the checks ask for, and what they say of it."""

import fnmatch
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from femto import kernels
from femto._version import __version__
from femto.errors import RecipeError
from femto.experiments.engine import Run, recent_loss
from femto.experiments.measures import MEASURES, Subject
from femto.experiments.recipe import RELATIONS, Check, Measured
from femto.system import files
from femto.system.text import finite


@dataclass(frozen=True)
class Checked:
    """A check and its outcome."""

    figure: str  # what was measured
    value: float
    relation: str  # ≤ ≥ < >
    limit: float
    of: str | None  # what the limit is the figure of, if it was measured too
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """What a run came to."""

    name: str
    preset: str
    passed: bool
    plan: str  # digest of what was done
    complete: bool  # whether all steps of the plan were trained; a budget may have ended it before
    checks: tuple[Checked, ...]
    steps: int  # of the model's life, the most of all models at the end
    planned_steps: int
    seconds: float  # wall-clock time of vocabulary, training and saves; not of reading the text, nor of the checks
    milliseconds_per_step: float  # median of the best model's
    loss: float  # training loss of the best model, mean of its last 50 steps, nats a token
    unigram_entropy: float  # what a model reaches that knows nothing of order, nats a token
    num_parameters: int  # of the best model
    shape: dict[str, Any]  # its ModelConfig
    models: int  # at the end
    data: dict[str, Any]  # kind, held_out, name, bytes, sha256
    seed: int
    budget_minutes: float | None
    figures: dict[str, float]  # all that was measured, by name
    femto: str
    isa: str  # of the kernels, now
    threads: int  # of the kernels, when it was trained

    def to_json(self) -> dict[str, Any]:
        """What `verdict.json` holds."""
        return asdict(self)


def judge(run: Run) -> Verdict:
    """Measure what the checks ask for. Raises RecipeError if the run is not finished."""
    if not run.finished:
        raise RecipeError(f"{run.folder}: the run is not finished")
    subject = cache(run.subject)
    final = run.state.models
    figures: dict[str, float] = {}
    checks = judge_checks(run, run.plan.checks, subject, figures)
    best = min(final, key=lambda name: (recent_loss(subject(name).checkpoint.history, 50), name))
    checkpoint = subject(best).checkpoint
    history = checkpoint.history
    steps = max(subject(name).checkpoint.history.num_steps for name in final)
    figures |= {
        name: MEASURES[name].function(subject(best)) for name in ("training_loss", "unigram_entropy") if name not in figures
    }
    return Verdict(
        name=run.recipe.name,
        preset=run.preset,
        passed=all(check.passed for check in checks),
        plan=run.plan.digest,
        complete=not run.state.cut,
        checks=tuple(checks),
        steps=steps,
        planned_steps=run.plan.steps,
        seconds=run.state.seconds,
        milliseconds_per_step=float(np.median(history.milliseconds)),
        loss=history.recent_loss(50),
        unigram_entropy=figures["unigram_entropy"],
        num_parameters=checkpoint.model.config.num_parameters,
        shape=asdict(checkpoint.model.config),
        models=len(final),
        data=run.state.data,
        seed=run.seed,
        budget_minutes=run.state.budget_minutes,
        figures=figures,
        femto=__version__,
        isa=kernels.isa(),
        threads=run.state.threads,
    )


def save(verdict: Verdict, run: Run) -> None:
    """Write it into the run's folder, as verdict.json. Raises RecipeError."""
    content = json.dumps(finite(verdict.to_json()), indent=1, ensure_ascii=False).encode() + b"\n"
    try:
        files.write_atomically(run.folder / "verdict.json", [content])
    except OSError as error:
        raise RecipeError(f"{run.folder / 'verdict.json'}: cannot write: {error.strerror}") from error


def label(measured: Measured) -> str:
    """The name of a figure: its measure, the measure's options, and the models if they are not those of the last stage."""
    shown = "".join(f" {key}={value!r}" for key, value in measured.options.items())
    return measured.measure + shown + (f" of {measured.models}" if measured.models else "")


def asked(check: Check) -> str:
    """A check in words."""
    right = label(check.right) if isinstance(check.right, Measured) else f"{check.right:g}"
    by = f" by {check.by:g}" if check.by else ""
    return f"{'one: ' if check.any else ''}{label(check.left)} {RELATIONS[check.relation][0]} {right}{by}"


def judge_checks(
    run: Run,
    checks: Sequence[Check],
    subject: Callable[[str], Subject] | None = None,
    figures: dict[str, float] | None = None,
) -> list[Checked]:
    """The outcome of checks on the models of a run; every figure goes into `figures` by its name."""
    subject = subject or cache(run.subject)
    taken = {} if figures is None else figures

    def value(measured: Measured, largest: bool, symbol: str) -> float:
        names = run.state.models if measured.models is None else fnmatch.filter(run.state.made, measured.models)
        if not names:
            raise RecipeError(f"recipe {run.recipe.name}: a check is about {measured.models}, but no model is called so")
        found = [MEASURES[measured.measure].function(subject(name), **measured.options) for name in names]
        chosen = float(np.max(found) if largest else np.min(found))  # NaN if one is, which meets no check
        name = label(measured)
        taken[name if taken.get(name, chosen) == chosen else f"{name} {symbol}"] = chosen
        return chosen

    outcomes = []
    for check in checks:
        symbol, compare = RELATIONS[check.relation]
        # What is hardest to keep below is the largest, and what is hardest to be below of is the smallest.
        below = check.relation in ("at_most", "below")
        left = value(check.left, below != check.any, symbol)
        measured = check.right if isinstance(check.right, Measured) else None
        limit = value(measured, not below, symbol) if measured else check.right
        assert isinstance(limit, float)
        limit += -check.by if below else check.by
        of = label(measured) if measured else None
        outcomes.append(Checked(label(check.left), left, symbol, limit, of, compare(left, limit)))
    return outcomes
