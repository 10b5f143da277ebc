"""Models made from models: what is kept, what begins anew, and what the history says of it."""

from dataclasses import replace

from femto.checkpoint import Checkpoint
from femto.config import to_json
from femto.history import History
from femto.model import Model
from femto.tokenizers import BpeTokenizer, Tokenizer

OF_TOKENS = ("token_embedding", "head_map_weights", "head_map_bias")  # the tensors that mean nothing to another vocabulary


def init_with(parent: Checkpoint, tokenizer: Tokenizer, num_tokens: int | None = None, seed: int = 0) -> Checkpoint:
    """A new model for another vocabulary, with all that the parent knows but its tokens (the log's experiments 39 and 40).

    All tensors are the parent's but `token_embedding`, `head_map_weights` and `head_map_bias`, which are initialised as in a new
    model; of learned positions beyond the parent's context, too. The optimiser and the history begin anew: their first entry
    names the parent's last. Training settings are the parent's, with this seed.
    num_tokens: context of the new model. [default: the parent's]
    """
    old = parent.model
    config = replace(old.config, vocab_size=tokenizer.vocab_size)
    if num_tokens is not None:
        config = replace(config, num_tokens=num_tokens)
    model = Model(config).initialize(seed)
    for name, tensor in old.layout.stored(old.parameters).items():
        if name not in OF_TOKENS:
            rows = min(len(tensor), len(model.tensors[name])) if name == "position_embedding" else len(tensor)
            model.layout.stored(model.parameters)[name][:rows] = tensor[:rows]
    history = History()
    last = parent.history.entries[-1]
    history.add("init-with", seed=seed, config=to_json(config), parent=last["id"], parent_steps=parent.history.num_steps)
    return Checkpoint(model, tokenizer, replace(parent.training, seed=seed), history)


def rename_token(checkpoint: Checkpoint, name: str, token_id: int | None = None) -> int:
    """Give a reserved token a name; no tensor changes. Returns its id.

    Errors and token_id as in `BpeTokenizer.renamed`; the history records it.
    """
    before = checkpoint.tokenizer
    checkpoint.tokenizer = BpeTokenizer.renamed(before, name, token_id)
    token_id = checkpoint.tokenizer.tokens.index(name.encode())
    checkpoint.history.add("rename-token", token_id=token_id, before=before.tokens[token_id].decode(), after=name)
    return token_id
