"""Does memory stay flat, and what do saves cost? Trains a small model for long, saving as often as `femto train` would.

python benches/long_run.py [--steps 20000] [--embedding-degree 32] [--save-every N]   # prints one JSON object
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from configurations import MODEL, TRAINING

import femto
from femto.dummy_data import simple_dummy2
from femto.training import Step
from femto.training.session import Saved, Validation


def resident() -> float:
    """MiB of memory that this process holds now; Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--embedding-degree", type=int, default=32)
    parser.add_argument("--num-layers", type=int, default=2)
    parser.add_argument("--num-tokens", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--save-every", type=int, help="steps; default: by time, as `femto train`")
    chosen = parser.parse_args()
    text = simple_dummy2.generate(0)
    tokenizer = femto.tokenizers.build("byte", None)
    shape = femto.ModelConfig(
        tokenizer.vocab_size,
        num_tokens=chosen.num_tokens,
        embedding_degree=chosen.embedding_degree,
        num_layers=chosen.num_layers,
        num_heads=4,
        **MODEL,
    )
    schedule = {"warmup_steps": 100, "decay_steps": None, "min_learning_rate": 0.00003}
    changes = {"batch_size": chosen.batch_size, "dropout": 0.1, "validation_split": 0.1}
    training = femto.TrainConfig(**{**TRAINING, **schedule, **changes})
    made = femto.create(shape, tokenizer, training)
    at, saves, saving, validating = {}, 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.dat"
        session = femto.Session(made, femto.from_text("simple_dummy2", text, tokenizer), str(path), chosen.save_every)
        started = last = time.monotonic()
        for event in session.run(chosen.steps):
            now = time.monotonic()
            if isinstance(event, Saved):
                saves, saving = saves + 1, saving + event.seconds
            elif isinstance(event, Validation):
                validating += now - last
            elif isinstance(event, Step) and (event.step % max(1, chosen.steps // 10) == 0 or event.step in (1, 100, 1000)):
                at[event.step] = round(resident(), 2)
            last = now
        seconds, size = time.monotonic() - started, path.stat().st_size
    print(
        json.dumps(
            {
                "parameters": shape.num_parameters,
                "seconds": round(seconds, 2),
                "resident_mib": at,
                "file_mib": round(size / 2**20, 2),
                "saves": saves,
                "share_of_saves": round(saving / seconds, 4),
                "share_of_validations": round(validating / seconds, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
