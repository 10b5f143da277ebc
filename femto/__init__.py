"""femto trains small GPT language models on CPU cores.

>>> import femto
>>> tokenizer = femto.tokenizers.build("char", "to be or not to be")
>>> config = femto.ModelConfig(tokenizer.vocab_size, num_tokens=8, embedding_degree=16, num_layers=1, num_heads=2)
>>> checkpoint = femto.create(config, tokenizer, femto.TrainConfig(batch_size=4, seed=1))
>>> dataset = femto.from_text("to be", "to be or not to be", tokenizer)
>>> events = list(femto.Session(checkpoint, dataset, path=None).run(steps=3))
>>> checkpoint.history.num_steps
3

`create`, `load` and `save` make, read and write a Checkpoint: model, tokenizer, optimiser and history. `Session` trains it and
yields what happens; `generate` and `evaluate` use it. `femto.growth` makes it larger, `femto.compare` and `femto.lineage` tell
what it shares with others, `femto.diagnosis` why it is stuck. Below lie `femto.model` (the graph), `femto.kernels` (the
compiled functions) and `femto.tokenizers`. `femto.commands.main` is the command line.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from femto import growth, kernels, tokenizers
    from femto._version import __version__
    from femto.analysis import chunks, compare, diagnosis, embeddings, lineage
    from femto.checkpoint import Checkpoint, create, load, save
    from femto.config import PRESETS, ModelConfig, TrainConfig
    from femto.data import Dataset, from_text, load_dataset
    from femto.errors import FemtoError
    from femto.generation import Sampling, complete, generate
    from femto.model import Decoder, Graph, Model
    from femto.training import Loss, Saved, Session, Step, Trainer, Validation, evaluate

# Where each name lives. Imported at first use, so that `femto --help` need not load NumPy.
_HOMES = {
    "_version": ("__version__",),
    "checkpoint": ("Checkpoint", "create", "load", "save"),
    "config": ("PRESETS", "ModelConfig", "TrainConfig"),
    "data": ("Dataset", "from_text", "load_dataset"),
    "errors": ("FemtoError",),
    "generation": ("Sampling", "complete", "generate"),
    "model": ("Decoder", "Graph", "Model"),
    "training": ("Loss", "Saved", "Session", "Step", "Trainer", "Validation", "evaluate"),
    "analysis": ("chunks", "compare", "diagnosis", "embeddings", "lineage"),
}

_MODULES = ("checkpoint", "config", "data", "errors", "growth", "kernels", "model", "optimizers", "tokenizers", "training")

__all__ = [
    "PRESETS",
    "Checkpoint",
    "Dataset",
    "Decoder",
    "FemtoError",
    "Graph",
    "Loss",
    "Model",
    "ModelConfig",
    "Sampling",
    "Saved",
    "Session",
    "Step",
    "TrainConfig",
    "Trainer",
    "Validation",
    "__version__",
    "chunks",
    "compare",
    "complete",
    "create",
    "diagnosis",
    "embeddings",
    "evaluate",
    "from_text",
    "generate",
    "growth",
    "kernels",
    "lineage",
    "load",
    "load_dataset",
    "save",
    "tokenizers",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"femto.{name}")
    for home, names in _HOMES.items():
        if name in names:
            module = importlib.import_module(f"femto.{home}")
            return getattr(module, name) if hasattr(module, name) else importlib.import_module(f"femto.{home}.{name}")
    raise AttributeError(f"module 'femto' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
