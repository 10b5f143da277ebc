"""What each default of the modern preset is worth: one change at a time, on three kinds of text.

python benches/ablation.py record --code PATH --prose PATH [--rows NAME …]   # about forty minutes on two cores
python benches/ablation.py page                                              # the tables of docs/measurements.md
"""

import argparse
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import femto
from femto import config, data, kernels, tokenizers
from femto.dummy_data import simple_dummy2
from femto.experiments import sources
from femto.kernels import threads
from femto.training import Trainer, evaluate

RECORDS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "measurements.md"
PART = re.compile(r"(<!-- generated: ablation -->\n).*?(<!-- end -->)", re.S)

Settings = dict[str, Any]

# The presets as they were when the rows were recorded. What "as the preset" means is named here, so that a default that changes
# does not change rows that were recorded before; tests/test_performance_records.py says when it is no longer the preset.
PRESETS: dict[str, Settings] = {
    "modern": {
        "block": "pre-norm",
        "positional_encoding": "rotary",
        "rotary_base": 1000.0,
        "initializer": "scaled",
        "learning_rate": 0.003,
        "warmup_steps": 100,
        "decay": "linear",
        "schedule": "life",
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.99,
        "epsilon": 1e-8,
        "clip_norm": 1.0,
        "dropout": 0.0,
    },
    "reference": {
        "block": "reference",
        "positional_encoding": "absolute",
        "initializer": "reference",
        "learning_rate": 0.001,
        "warmup_steps": 100,
        "decay": "linear",
        "schedule": "life",
        "weight_decay": 0.01,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "clip_norm": 0.0,
        "dropout": 0.0,
    },
}

# What every row of a task shares; the decay ends with the last step. Batches hold as many windows as teach most a second.
TASKS: dict[str, Settings] = {
    "code": {"embedding_degree": 96, "num_tokens": 128, "batch_size": 8, "steps": 2000},
    "prose": {"embedding_degree": 96, "num_tokens": 64, "batch_size": 16, "steps": 2000},
    "actions": {"embedding_degree": 64, "num_tokens": 48, "batch_size": 32, "steps": 1500},
}

# Relative steps and batch sizes are factors of the task's.
ROWS: dict[str, Settings] = {
    "as the preset, seed 0": {},
    "as the preset, seed 1": {"seed": 1},
    "as the preset, seed 2": {"seed": 2},
    "learning rate 0.001": {"learning_rate": 0.001},
    "learning rate 0.002": {"learning_rate": 0.002},
    "learning rate 0.005": {"learning_rate": 0.005},
    "decay over 5,000 steps, whatever comes (the preset's, before)": {"decay_steps": 5000, "min_learning_rate": 0.00003},
    "decay to 0.00003 instead of 0": {"min_learning_rate": 0.00003},
    "no decay": {"decay_steps": 0},
    "half a cosine instead of a line": {"decay": "cosine"},
    "no warm-up": {"warmup_steps": 0},
    "initializer reference, N(0, 0.02)": {"initializer": "reference"},
    "block reference": {"block": "reference"},
    "block reference, seed 1": {"block": "reference", "seed": 1},
    "block reference, seed 2": {"block": "reference", "seed": 2},
    "8 layers": {"num_layers": 8},
    "8 layers, block reference": {"num_layers": 8, "block": "reference"},
    "no positions": {"positional_encoding": "none"},
    "absolute positions": {"positional_encoding": "absolute"},
    "learned positions": {"positional_encoding": "learned"},
    "rotary base 100": {"rotary_base": 100.0},
    "rotary base 10,000": {"rotary_base": 10_000.0},
    "β2 0.95": {"beta2": 0.95},
    "β2 0.999": {"beta2": 0.999},
    "weight decay 0.01": {"weight_decay": 0.01},
    "weight decay 0.3": {"weight_decay": 0.3},
    "weight decay 0.1 on matrices only": {"decay_matrices_only": True},
    "no clipping": {"clip_norm": 0.0},
    "dropout 0.1": {"dropout": 0.1},
    "half the batch, twice the steps": {"batch_factor": 0.5, "steps_factor": 2},
    "twice the batch, half the steps": {"batch_factor": 2, "steps_factor": 0.5},
    "2 heads": {"num_heads": 2},
    "8 heads": {"num_heads": 8},
    "reference preset, for as many steps": {"preset": "reference", "decay_steps": 50_000, "min_learning_rate": 0.00001},
}


@cache  # one vocabulary a process
def load(task: str, path: str | None) -> tuple[tokenizers.Tokenizer, data.Dataset, data.Dataset]:
    """The tokenizer, what to train on, and what to evaluate on."""
    tokenizer: tokenizers.Tokenizer
    if task == "actions":
        documents, unseen = ([simple_dummy2.generate(seed).encode()] for seed in (0, 1))
        tokenizer = tokenizers.build("ascii", None)
    else:
        parts = sources.load(task, path).split(0.1)
        documents, unseen = (list(part.documents) for part in parts)
        tokenizer = tokenizers.BpeTokenizer.from_documents(documents, 1024) if task == "code" else tokenizers.build("byte", None)
    return tokenizer, data.from_documents(task, documents, tokenizer), data.from_documents(task, unseen, tokenizer)


def train(task: str, row: str, texts: dict[str, str], most_steps: int | None) -> dict[str, Any]:
    """Train one row with one thread, and evaluate it on text that it did not see."""
    preset = PRESETS[ROWS[row].get("preset", "modern")]
    settings = {**preset, "num_layers": 4, "num_heads": 4, "min_learning_rate": 0.0, "seed": 0, **TASKS[task], **ROWS[row]}
    settings.pop("preset", None)
    tokenizer, training_data, held_out = load(task, texts.get(task))
    steps = round(settings.pop("steps") * settings.pop("steps_factor", 1))
    settings["batch_size"] = round(settings["batch_size"] * settings.pop("batch_factor", 1))
    settings.setdefault("decay_steps", steps - settings["warmup_steps"])
    matrices_only = settings.pop("decay_matrices_only", False)
    shape = {field.name: settings.pop(field.name) for field in fields(config.ModelConfig) if field.name in settings}
    training = config.TrainConfig(**settings)
    made = femto.create(config.ModelConfig(tokenizer.vocab_size, **shape), tokenizer, training)
    trainer = Trainer(made, training_data.ids)
    vectors = [tensor for tensor in made.model.tensors.values() if tensor.ndim == 1] if matrices_only else []
    for _ in range(min(steps, most_steps or steps)):
        before = [vector.copy() for vector in vectors]
        step = trainer.step()
        for vector, old in zip(vectors, before, strict=True):  # what the decoupled decay took away
            vector += step.learning_rate * training.weight_decay * old
    loss = evaluate(made.model, held_out.ids, tokenizer, 131_072)
    seen = float(made.history.losses[-50:].mean())
    return {"steps": steps, "training_loss": seen, "held_out_loss": loss.nats}


def record(rows: list[str], tasks: list[str], texts: dict[str, str], most_steps: int | None, file: Path) -> None:
    """Train the rows, one a core, and write down each as it ends. What is recorded already is not trained again."""
    records = json.loads(file.read_bytes()) if file.is_file() else {}
    missing = [(task, row) for row in rows for task in tasks if row not in records.get(task, {})]
    with ProcessPoolExecutor(threads.default_num_threads(), initializer=kernels.set_num_threads, initargs=(1,)) as pool:
        running = {pool.submit(train, task, row, texts, most_steps): (task, row) for task, row in missing}
        for done in as_completed(running):
            task, row = running[done]
            records.setdefault(task, {})[row] = done.result()
            ordered = {t: {r: records[t][r] for r in ROWS if r in records[t]} for t in TASKS if t in records}
            file.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"{task}: {row}: {records[task][row]['held_out_loss']:.4f}", flush=True)


def table() -> str:
    """Losses on unseen text, and how far each is from the first row's."""
    records = json.loads(RECORDS.read_bytes())
    lines = [f"| change | {' | '.join(TASKS)} |", "|---|" + "---|" * len(TASKS)]
    for row in ROWS:
        cells = []
        for task in TASKS:
            loss, base = records[task][row]["held_out_loss"], records[task][next(iter(ROWS))]["held_out_loss"]
            cells.append(f"{loss:.3f} ({loss - base:+.3f})")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """The page with the table between its two comments made anew."""
    return PART.sub(lambda part: part[1] + "\n" + table() + "\n" + part[2], page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("--code", required=True)
    recording.add_argument("--prose", required=True)
    recording.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    recording.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    recording.add_argument("--steps", type=int, help="at most, to see that all works; into a file of its own [those of the task]")
    recording.add_argument("--records", type=Path, default=RECORDS, metavar="FILE", help="[benches/ablation.json]")
    commands.add_parser("page")
    chosen = parser.parse_args()
    if chosen.command == "record":
        if chosen.steps and chosen.records == RECORDS:
            parser.error("--steps needs --records FILE: fewer steps are no result")
        record(chosen.rows, chosen.tasks, {"code": chosen.code, "prose": chosen.prose}, chosen.steps, chosen.records)
    else:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
