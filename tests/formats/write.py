"""Writes files of every kind as this version of femto writes them, small, with what they hold, for all later versions to read.

    python tests/formats/write.py FOLDER

A folder is written once, by the version that it is named after, and never changed: `tests/test_formats.py` reads them all.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import femto  # noqa: E402
from femto import growth, kernels, tokenizers  # noqa: E402
from tests.fixed_runs import TEXT, grown, inherited, new, trained  # noqa: E402

SMALL = {"num_tokens": 6, "embedding_degree": 8}
STEPS = 5  # that every model is trained on, to see that it goes on to the same bytes

RECIPE = """title = "A run of every stage"
data = "addition_dummy"
criterion = "It ends."

[tokenizer]
kind = "ascii"
reserve_tokens = 2

[model]
num_tokens = 8
embedding_degree = 8
num_layers = 1
num_heads = 2

[training]
batch_size = 3
warmup_steps = 2

[modern]
stages = [
  { do = "init", name = "first", count = 2, training = { dropout = 0.1 } },
  { do = "train", steps = 4, snapshot = "early" },
  { do = "insert-layer", at = 1, copies = 2 },
  { do = "train", steps = 3, models = "*-ext1", training = { learning_rate = 0.002 } },
  { do = "insert-head", count = 1 },
  { do = "keep", best = 2 },
  { do = "train", steps = 2 },
]
checks = [{ measure = "training_loss", at_most = 9.0 }]
"""


def bpe():
    """A model on a BPE vocabulary, one of whose reserved tokens has a name."""
    tokenizer = tokenizers.BpeTokenizer.from_text(TEXT, 48, case_sensitive=False).with_reserved(3)
    config = femto.ModelConfig(tokenizer.vocab_size, num_tokens=9, embedding_degree=8, num_layers=1, num_heads=2)
    checkpoint = femto.create(config, tokenizer, femto.TrainConfig(seed=5, batch_size=4, warmup_steps=2), "modern")
    growth.rename_token(checkpoint, "<|end|>")
    return trained(checkpoint)


def with_reset():
    checkpoint = trained(new(SMALL))
    growth.reset_optimizer(checkpoint)
    return checkpoint


MODELS = {
    "untrained": lambda: new(SMALL),
    "trained": lambda: trained(new(SMALL, {"dropout": 0.1})),
    "reference": lambda: trained(new(SMALL, {"dropout": 0.1}, preset="reference")),
    "until_the_end": lambda: trained(new({**SMALL, "positional_encoding": "learned"}, {"decay_steps": None, "decay": "cosine"})),
    "bpe": bpe,
    "grown": lambda: grown(SMALL),
    "inherited": lambda: inherited(SMALL),
    "with_reset": with_reset,
}


def femto_command(folder, *arguments):
    """What a command prints that runs in the folder."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "femto", *arguments], check=True, cwd=folder, env=environment, stdout=subprocess.PIPE
    ).stdout


def describe(path):
    """All that a model file says, and where five more steps lead."""
    checkpoint = femto.load(path)
    history = checkpoint.history
    found = {
        "config": asdict(checkpoint.model.config),
        "training": asdict(checkpoint.training),
        "tokens": checkpoint.tokenizer.readable_tokens(),
        "parameters_sha256": checkpoint.model.parameters_sha256,
        "optimizer_sha256": checkpoint.optimizer_sha256,
        "optimizer_step": checkpoint.optimizer.step if checkpoint.optimizer else None,
        "history": history.entries,
        "losses": history.losses.tolist(),
        "goes_on_to": {},
    }
    for family, isa in (("fused", "avx2"), ("base", "base")):
        kernels.set_isa(isa)
        checkpoint = trained(femto.load(path), STEPS)
        found["goes_on_to"][family] = [checkpoint.model.parameters_sha256, checkpoint.optimizer_sha256]
    return found


def main(folder):
    folder.mkdir(parents=True)
    (folder / "text.txt").write_text(TEXT, encoding="ascii")
    models = folder / "models"
    models.mkdir()
    for name, make in MODELS.items():
        femto.save(make(), models / f"{name}.dat")
    shutil.copy(HERE.parent / "reference" / "original_program.dat", folder / "old.dat")
    femto_command(folder, "import", "old.dat", "models/imported.dat")
    (folder / "old.dat").unlink()
    described = {path.stem: describe(path) for path in sorted(models.glob("*.dat"))}
    (folder / "models.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")

    kinds = folder / "tokenizers"
    kinds.mkdir()
    for kind in ("ascii", "byte", "char"):
        made = tokenizers.build(kind, TEXT if kind == "char" else None, case_sensitive=kind != "char", reserve_tokens=2)
        tokenizers.save(made, kinds / f"{kind}.json")
    tokenizers.save(tokenizers.BpeTokenizer.from_text(TEXT, 48), kinds / "bpe.json")
    (kinds / "list.json").write_text('["<unk>", "t", "h", "e", " ", "the "]\n', encoding="ascii")
    encoded = {path.stem: tokenizers.load(path).encode(TEXT).tolist() for path in sorted(kinds.glob("*.json"))}
    (folder / "tokenizers.json").write_text(json.dumps(encoded) + "\n", encoding="ascii")

    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE, encoding="ascii")
    finished, stopped = folder / "finished", folder / "stopped"
    verdict = femto_command(folder, "experiment", "run", "recipe.toml", "--quiet", "--json", "--folder", "finished")
    (folder / "verdict.json").write_bytes(verdict)
    (finished / "dataset.txt").unlink()
    shutil.copytree(finished, stopped)  # as if killed before its last stages
    state = json.loads((stopped / "run.json").read_bytes())
    state["stage"], state["models"], state["entry"] = 2, ["first1", "first2"], {}
    for path in stopped.iterdir():
        if "-ext" in path.name or path.name == "verdict.json":
            path.unlink()
    state["made"] = [name for name in state["made"] if "-ext" not in name]
    (stopped / "run.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    shutil.copy(models / "trained.dat", folder / "scratch.dat")
    femto_command(
        folder,
        *("train", "--model", "scratch.dat", "--dataset", "text.txt", "--steps", "3", "--quiet"),
        *("--validation-split", "0.1", "--validate-every", "2", "--metrics", "metrics.jsonl"),
    )
    (folder / "scratch.dat").unlink()
    femto_command(folder, "chunks", "--model", "models/trained.dat", "--dataset", "text.txt", "--output", "chunks.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
