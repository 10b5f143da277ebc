"""The journal's `train.py` as a recipe: several small models start, grow in turns, and the best is kept (experiments 27, 38)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from femto.config import PRESETS, updated
from femto.experiments.recipe import Init, InsertLayer, Keep, Plan, Recipe, Stage, Train, defaults_of


@dataclass(frozen=True)
class Size:
    """How large a search is; the letters are those of the journal's script."""

    embedding_degree: int  # d
    num_layers: int  # L of the first models; the last has two more
    num_heads: int  # H
    models: int  # M, that start
    first_steps: tuple[int, int]  # a, b: of each of them
    insert_at: int  # p
    copies: int  # K, that a layer is inserted into
    later_steps: tuple[int, int]  # c, e: after either insertion
    best: int  # N, that get the second layer


SIZES = {
    "tiny": Size(64, 4, 4, 2, (30, 60), 2, 1, (30, 60), 2),
    "small": Size(80, 4, 4, 4, (200, 500), 2, 2, (200, 500), 3),
    "medium": Size(144, 6, 6, 4, (500, 2000), 4, 2, (1000, 2000), 3),
    "big": Size(256, 8, 8, 4, (1500, 6000), 6, 2, (3000, 6000), 3),
}


def recipe(
    size: Size, preset: str, steps: int, num_tokens: int = 80, tokenizer: dict[str, Any] | None = None, **training: Any
) -> Recipe:
    """The stages of a search: the best model is trained `steps` steps at the end. training: fields of TrainConfig."""
    stages: list[Stage] = [Init(count=size.models)]
    stages += [Train(count, snapshot=f"chk{index}") for index, count in enumerate(size.first_steps, 1)]
    for copies, best in ((size.copies, size.best), (1, 1)):
        stages.append(InsertLayer(size.insert_at, copies))
        stages += [Train(count, snapshot=f"chk{index}") for index, count in enumerate(size.later_steps, 1)]
        stages.append(Keep(best))
    stages.append(Train(steps))
    settings = defaults_of(preset)
    shape = {
        "num_tokens": num_tokens,
        "embedding_degree": size.embedding_degree,
        "num_layers": size.num_layers,
        "num_heads": size.num_heads,
    }
    plan = Plan(tuple(stages), (), PRESETS[preset].model | shape, settings, tokenizer or {"kind": "ascii"})
    if preset == "modern":
        plan = replace(plan, training=replace(settings, decay_steps=plan.steps))
    plan = replace(plan, training=updated(plan.training, training))
    return Recipe("search", "the best of a population", "text", 0.0, {preset: plan}, {}, "", "", Path())
