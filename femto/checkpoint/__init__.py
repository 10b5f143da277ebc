"""A model with its tokenizer, optimiser, settings and history: in memory (`state`), in a file (`storage`, `container`)."""

from femto.checkpoint.state import Checkpoint, create
from femto.checkpoint.storage import check_target, is_model, load, load_tokenizer, locked, opened, save

__all__ = ["Checkpoint", "check_target", "create", "is_model", "load", "load_tokenizer", "locked", "opened", "save"]
