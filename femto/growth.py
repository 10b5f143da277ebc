"""Models made from models: what is kept, what begins anew, and what the history says of it.

On a model with pre-norm blocks, growth preserves the function: the logits are the same to the rounding of float32, the new part
gets gradients, and the optimiser goes on with the state of what was there. On a model with the reference block the original
program is followed: what is new is random, and the optimiser is reset. A longer context and more tokens keep both on any model.
The next session of a model that has grown begins a run, in which the learning rate rises again from what it is
(`femto.optimizers.schedule`).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from femto.checkpoint import Checkpoint
from femto.checkpoint.history import History
from femto.config import ModelConfig, to_json
from femto.errors import ConfigError
from femto.model import Model
from femto.model.buffers import Floats
from femto.model.ends import sinusoids
from femto.model.tensors import Tensor, View
from femto.optimizers.schedule import anew
from femto.system.text import counted
from femto.tokenizers import BpeTokenizer, Tokenizer

NEW_SHARE = 1e-5  # of the probability of its first piece, which tokens that are added have at first: no loss shows it


def init_with(
    parent: Checkpoint, tokenizer: Tokenizer, num_tokens: int | None = None, seed: int = 0, *, keep_tokens: bool = False
) -> Checkpoint:
    """A new model for another vocabulary, with all that the parent knows but its tokens (the journal's experiments 39 and 40).

    All tensors are the parent's but those of the tokens (`token_embedding`, `head_map_weights`, `head_map_bias`), which are
    initialised as in a new model; of learned positions beyond the parent's context, too. The optimiser and the history begin
    anew: their first entry names the parent's last. Training settings are the parent's, with this seed.
    num_tokens: context of the new model. [default: the parent's]
    keep_tokens: keep what those three tensors have of each token that both vocabularies have, by its bytes; the first entry of
        the history counts them as `kept_tokens`. So for the same vocabulary and context the model says what the parent says, to
        the bit. False is what the journal did, and what this call has always given.
    """
    old = parent.model
    config = replace(old.config, vocab_size=tokenizer.vocab_size)
    if num_tokens is not None:
        config = replace(config, num_tokens=num_tokens)
    model = Model(config).initialize(seed)
    stored = old.layout.stored(old.parameters)
    kept = {name: stored[name] for name, tensor in old.layout.tensors.items() if tensor.token_axis is None}
    _copy(kept, model.layout.stored(model.parameters))
    last = parent.history.entries[-1]
    details: dict[str, Any] = {"parent": last["id"], "parent_steps": parent.history.num_steps}
    if keep_tokens:
        places = {token: index for index, token in enumerate(parent.tokenizer.tokens)}
        known = [index for index, token in enumerate(tokenizer.tokens) if token in places]
        same = [places[tokenizer.tokens[index]] for index in known]
        for (_, rows), (_, old_rows) in zip(_token_rows(model), _token_rows(old), strict=True):
            rows[known] = old_rows[same]
        details["kept_tokens"] = len(known)
    history = History()
    history.add("init-with", seed=seed, config=to_json(config), **details)
    return Checkpoint(model, tokenizer, anew(replace(parent.training, seed=seed)), history)


def add_tokens(checkpoint: Checkpoint, names: Sequence[str]) -> Checkpoint:
    """A model with more tokens, whose ids come after all that there are. Texts without them get the same ids as before.

    Until it is trained, it says of such a text what it said before: the logits of the old tokens are the same, and all new tokens
    together have at most NEW_SHARE of the probability, so that a loss rises by at most as many nats a token. A new token stands
    for the text that its old tokens stood for (its pieces): its embedding is the mean of theirs, and its logit follows that of
    its first piece, as what comes after a text has begun with that piece so far. Its moments are zero; the optimiser goes on.

    Works for every block. The checkpoint that is given is not changed. Raises TokenizerError as `BpeTokenizer.extended` does.
    """
    before = checkpoint.tokenizer
    tokenizer = BpeTokenizer.extended(before, names)
    pieces = [before.encode(name) for name in names]
    model = Model(replace(checkpoint.model.config, vocab_size=tokenizer.vocab_size))
    details: dict[str, Any] = {"first": before.vocab_size, "tokens": list(names)}
    grown = _grown(checkpoint, model, lambda view: view.name, "add-token", keep_optimizer=True, **details)
    grown.tokenizer = tokenizer
    alike = Counter(int(of[0]) for of in pieces)  # together they have their share of what their first piece has
    for tensor, rows in _token_rows(model):
        for index, of in enumerate(pieces, before.vocab_size):
            rows[index] = rows[of].mean(axis=0, dtype=np.float64) if tensor.role == "embedding" else rows[of[0]]
            if tensor.role == "bias":
                rows[index] += math.log(NEW_SHARE / alike[int(of[0])])
    return grown


def rename_token(checkpoint: Checkpoint, name: str, token_id: int | None = None) -> int:
    """Give a reserved token a name; no tensor changes. Returns its id.

    Errors and token_id as in `BpeTokenizer.renamed`; the history records it.
    """
    before = checkpoint.tokenizer
    checkpoint.tokenizer = BpeTokenizer.renamed(before, name, token_id)
    token_id = checkpoint.tokenizer.tokens.index(name.encode())
    checkpoint.history.add("rename-token", token_id=token_id, before=before.tokens[token_id].decode(), after=name)
    return token_id


def reset_optimizer(checkpoint: Checkpoint) -> None:
    """Drop the optimiser's state: its moments and its step, which the learning rate follows, begin anew."""
    checkpoint.optimizer = None
    checkpoint.history.add("reset-optimizer")


def insert_layer(checkpoint: Checkpoint, index: int, seed: int = 0) -> Checkpoint:
    """A model with one more layer, which comes before the layer that is `index` now; index L appends it.

    pre-norm: the new layer adds nothing to the residual stream at first, as its two projections back to it are zero; they get
    gradients in the first step, the rest of the layer in the second. reference: the layer is random and the optimiser is reset.
    Raises ConfigError unless 0 <= index <= L.
    """
    old = checkpoint.model
    layers = old.config.num_layers
    if not 0 <= index <= layers:
        raise ConfigError(
            f"insert_at must be from 0 to {layers}, as the model has {counted(layers, 'layer')}; got {index}",
            "insert_at",
        )
    config = replace(old.config, num_layers=layers + 1)
    model = Model(config).initialize(seed)
    if preserves_function(config):
        for name, tensor in model.layout.tensors.items():
            if tensor.layer == index and tensor.role == "matrix" and tensor.writes_to_stream:
                model.tensors[name][...] = 0.0
    return _grown(checkpoint, model, lambda view: after_insertion(view, index), "insert-layer", index=index, seed=seed)


def insert_heads(checkpoint: Checkpoint, count: int = 1, seed: int = 0) -> Checkpoint:
    """A model with `count` more heads of the same size in every layer, and so wider by count * hs (the journal's experiment 37).

    pre-norm: as every reader of the residual stream subtracts the mean, what is written to it may be centred; then new columns of
    zeros leave the mean at 0, and sqrt(d' / d) times what is written leaves the variance as it was; with gains divided by the
    same, every LayerNorm gives what it gave, and zeros in the new columns. The new heads and inner units add nothing at first. A
    fixed positional table becomes a learned one, as that of the new width has other frequencies.
    reference: all that is new is random and the optimiser is reset.
    Raises ConfigError if count is not positive or the model would be too wide.
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1, got {count}", "count")
    old = checkpoint.model
    heads, d = old.config.num_heads, old.config.embedding_degree
    try:
        config = replace(old.config, num_heads=heads + count, embedding_degree=d + count * old.config.head_size)
    except ConfigError as error:
        raise ConfigError(f"count must be less than {count}: {error}", "count") from error
    preserved = preserves_function(config)
    if preserved and config.positional_encoding == "absolute":
        config = replace(config, positional_encoding="learned")
    model = Model(config).initialize(seed)
    grown = _grown(checkpoint, model, lambda view: view.name, "insert-head", first=heads, count=count, seed=seed)
    if preserved:
        if old.config.positional_encoding == "absolute":
            model.tensors["position_embedding"][:, :d] = sinusoids(config.num_tokens, d)
        _widen_stream(grown, old)
    return grown


def extend_context(checkpoint: Checkpoint, num_tokens: int, seed: int = 0) -> Checkpoint:
    """A model with a longer context: what it says of texts that fitted before is the same, to the bit.

    Learned positions beyond the old context are initialised as in a new model. Raises ConfigError unless it gets longer.
    """
    old = checkpoint.model
    if num_tokens <= old.config.num_tokens:
        message = f"num_tokens must be more than the {old.config.num_tokens} that the model has, got {num_tokens}"
        raise ConfigError(message, "num_tokens")
    model = Model(replace(old.config, num_tokens=num_tokens)).initialize(seed)
    return _grown(
        checkpoint, model, lambda view: view.name, "extend-context", keep_optimizer=True, num_tokens=num_tokens, seed=seed
    )


def preserves_function(config: ModelConfig) -> bool:
    """Whether layers and heads can be added to such a model without changing what it says.

    `insert_heads` relies on a norm that subtracts the mean.
    """
    return config.block == "pre-norm" and config.norm == "layer_norm"


def after_insertion(view: View, index: int) -> str:
    """What a tensor is called once a layer was inserted before layer `index`."""
    return view.name if view.layer is None or view.layer < index else view.in_layer(view.layer + 1)


def _grown(
    checkpoint: Checkpoint,
    model: Model,
    renamed: Callable[[View], str],
    kind: str,
    keep_optimizer: bool = False,
    **details: Any,
) -> Checkpoint:
    """The checkpoint with a larger model: every old tensor is the first block of the tensor that has its new name."""
    old_history = checkpoint.history
    history = History.restored(list(old_history.entries), old_history.losses, old_history.milliseconds, old_history.num_steps)
    history.add(kind, **details)
    grown = Checkpoint(model, checkpoint.tokenizer, anew(checkpoint.training), history)
    old, optimizer = checkpoint.model.layout, checkpoint.optimizer

    def move(source: Floats, target: Floats) -> None:
        blocks = old.views(source)
        _copy({renamed(view): blocks[name] for name, view in old.named.items()}, model.layout.views(target))

    move(checkpoint.model.parameters, model.parameters)
    if optimizer and (keep_optimizer or preserves_function(model.config)):
        grown.optimizer = type(optimizer)(model.layout)
        grown.optimizer.step = optimizer.step
        for before, after in zip(optimizer.buffers().values(), grown.optimizer.buffers().values(), strict=True):
            move(before, after)
    elif optimizer:
        history.add("reset-optimizer")
    return grown


def _token_rows(model: Model) -> Iterator[tuple[Tensor, Floats]]:
    """The tensors of tokens, and the numbers of each as (V,) or (V, d): views with a row for each token."""
    stored = model.layout.stored(model.parameters)
    for name, tensor in model.layout.tensors.items():
        if tensor.token_axis is not None:
            yield tensor, np.moveaxis(stored[name], tensor.token_axis, 0)


def _copy(old: dict[str, Floats], new: dict[str, Floats]) -> None:
    for name, tensor in old.items():
        block = tuple(slice(size) for size in np.minimum(tensor.shape, new[name].shape))
        new[name][block] = tensor[block]


def _widen_stream(grown: Checkpoint, narrow: Model) -> None:
    """Make a model that begins with the tensors of a narrower one say what that one says; see `insert_heads`."""
    d = narrow.config.embedding_degree
    scale = math.sqrt(grown.model.config.embedding_degree / d)
    layout, optimizer = grown.model.layout, grown.optimizer
    state = {name: layout.views(buffer) for name, buffer in optimizer.buffers().items()} if optimizer else {}
    for name, view in layout.named.items():
        tensor, declared = grown.model.tensors[name], view.tensor
        shape = narrow.tensors[name].shape if name in narrow.tensors else (len(tensor), d)
        block = tuple(slice(size) for size in shape)
        if declared.writes_to_stream:
            old, factor = tensor[block].astype(np.float64), scale
            tensor[...] = 0.0
            tensor[block] = factor * (old - old.mean(axis=-1, keepdims=True))
        elif declared.role == "gain":
            factor = 1.0 / scale
            tensor[block] *= factor
        else:
            continue
        for buffer, power in (optimizer.STATE if optimizer else {}).items():  # the gradient of what is scaled up is scaled down
            state[buffer][name][block] /= factor**power
