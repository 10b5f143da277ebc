"""What histories and losses tell, for people."""

import math
import statistics
from typing import TYPE_CHECKING

from femto.system.text import counted, printable

if TYPE_CHECKING:
    from femto.analysis.lineage import Event
    from femto.checkpoint.history import History
    from femto.training import Loss

SHOWN_TOKENS = 6  # of those that were added at once


def recent_loss(history: "History", last: int = 10) -> str:
    """ ", loss 1.2345 over the last 10", or of as many steps as there are; nothing without steps."""
    steps = min(last, history.num_steps)
    return f", loss {history.recent_loss(last):.4f} over the last {steps}" if steps else ""


def for_unknown(loss: "Loss") -> str:
    """What stands behind bits a byte: nothing, if every byte is known."""
    return " (8 bits more for each <unk>)" if loss.num_unknown else ""


def entry_line(event: "Event") -> str:
    """One entry of a history, or a part of a session, for people: on one line, whatever a stranger wrote into it."""
    return printable(_entry_line(event))


def _entry_line(event: "Event") -> str:
    entry, kind = event.entry, event.entry["kind"]
    if kind == "init":
        seed = entry.get("seed")  # null in an imported model: the original program had none
        source = f", imported from {entry['imported']}" if "imported" in entry else ""
        return f"init, preset {entry.get('preset')}" + ("" if seed is None else f", seed {seed}") + source
    if kind == "init-with":
        kept = f" and {entry['kept_tokens']} of its tokens" if "kept_tokens" in entry else ""
        return f"init-with the layers of a model after {counted(entry['parent_steps'], 'step')}{kept}, seed {entry.get('seed')}"
    if kind == "add-token":
        added = entry.get("tokens")
        names = [repr(name) for name in added] if isinstance(added, list) else []
        more = f" and {len(names) - SHOWN_TOKENS:,} more" if len(names) > SHOWN_TOKENS else ""
        return f"add-token {', '.join(names[:SHOWN_TOKENS])}{more}, from id {entry.get('first')} on"
    if kind == "rename-token":
        return f"rename-token {entry.get('token_id')}, {entry.get('before')!r} is {entry.get('after')!r} now"
    if kind == "insert-layer":
        return f"insert-layer before layer {entry.get('index')}"
    if kind == "insert-head":
        return f"insert-head, {entry.get('count')} more in every layer"
    if kind == "extend-context":
        return f"extend-context to {entry.get('num_tokens')} tokens"
    if kind == "numerics":
        return f"numerics {entry.get('after')} from here on, {entry.get('before')} before"
    if kind != "session":
        return str(kind)
    dataset = entry["dataset"]
    digest = dataset.get("sha256") or dataset.get("file_hash")  # the latter of the original program
    name = f"{dataset['name']} ({str(digest)[:8]})" if digest else dataset["name"]
    if not event.steps:
        return f"session on {name}, no steps"
    first = event.first_step
    losses = [loss for loss in event.losses.tolist() if math.isfinite(loss)] if len(event.losses) == event.steps else []
    skipped = f", {entry['skipped']} of them skipped" if entry.get("skipped") and event.steps == entry["steps"] else ""
    loss = f", loss {losses[0]:.4f} to {statistics.fmean(losses[-10:]):.4f}" if losses else ""
    if "validation_dataset" in entry:
        loss += f", validated on {entry['validation_dataset']['name']}"
    return f"session on {name}, steps {first + 1:,} to {first + event.steps:,}{skipped}, dropout {entry.get('dropout')}{loss}"
