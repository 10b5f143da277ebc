"""`femto info`: what a model file says."""

from typing import TYPE_CHECKING

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.history_text import entry_line
from femto.commands.shared.options import json_option, model_option, print_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@command("Look into models", "show shape, memory, settings and history", place=10)
@model_option
@json_option
def info(model: str, as_json: bool) -> None:
    """Show the shape, the number of parameters, the memory, the settings and the history of a model.

    With --json also every loss, the tokens, and checksums of the parameters and of the optimiser's state.
    """
    from femto import checkpoint, config
    from femto.analysis import lineage
    from femto.model import count_parameters
    from femto.optimizers import OPTIMIZERS
    from femto.system.text import amount, counted
    from femto.training.overfitting import best
    from femto.training.partitioning import activation_bytes, partition

    loaded = checkpoint.load(model)
    shape, history, tokenizer = loaded.model.config, loaded.history, loaded.tokenizer
    # Of training on one thread: the parts' gradients, the optimiser's state; and the activations of the windows of a micro-batch.
    cut = partition(shape, loaded.training)
    optimizer = OPTIMIZERS[loaded.training.optimizer]
    memory = {
        "parameters": 4 * shape.num_parameters,
        "training_state": 4 * cut.parts * shape.num_parameters + optimizer.state_bytes(shape.num_parameters),
        "activations": cut.micro_batch_size * activation_bytes(shape),
    }
    if as_json:
        print_json(
            {
                "model": model,
                "hyperparameters": {**config.to_json(shape), "head_size": shape.head_size},
                "num_parameters": shape.num_parameters,
                "parameters_of": count_parameters(shape),
                "memory_bytes": memory,
                "parameters_sha256": loaded.model.parameters_sha256,
                "optimizer_sha256": loaded.optimizer_sha256,
                "optimizer_step": loaded.optimizer.step if loaded.optimizer else None,
                "training": config.to_json(loaded.training),
                "num_steps": history.num_steps,
                "validations": history.validations(),
                "history": history.entries,
                "losses": [float(str(value)) for value in history.losses],
                "milliseconds": [float(str(value)) for value in history.milliseconds],
                "tokenizer": tokenizer.to_json(),
            }
        )
        return
    click.echo(f"{model}: {shape.num_parameters:,} parameters, {counted(history.num_steps, 'step')}")
    click.echo(
        f"shape: d={shape.embedding_degree}, L={shape.num_layers}, H={shape.num_heads} of {shape.head_size}, "
        f"T={shape.num_tokens}, V={shape.vocab_size}; block {shape.block}, positions {shape.positional_encoding}, "
        f"norm {shape.norm}, numerics {shape.numerics}"
    )
    parts = ", ".join(f"{name} {count:,}" for name, count in count_parameters(shape).items())
    click.echo(f"parameters: {parts}")
    sizes = {name: amount(size) for name, size in memory.items()}
    click.echo(
        f"memory: parameters {sizes['parameters']}; training adds {sizes['training_state']} of gradients and the optimiser's "
        f"state, and {sizes['activations']} of activations of {counted(cut.micro_batch_size, 'window')}"
    )
    case = "" if tokenizer.case_sensitive else ", case insensitive"
    click.echo(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size} tokens{case}")
    shown = {name: value for name, value in config.to_json(loaded.training).items() if value != {}}
    for name in ("run_start", "run_rate", "run_end", "rewarmed"):  # no settings, but where the schedule stands
        del shown[name]
    shown |= {name: "auto" for name, derived in config.AUTO.items() if shown[name] == derived}
    click.echo(f"training: {', '.join(f'{name} {value}' for name, value in shown.items())}")
    if history.num_steps:
        kept = history.losses
        of = f" (of the last {len(kept):,} steps)" if len(kept) < history.num_steps else ""
        click.echo(f"loss: {sparkline(kept)}  {kept[0]:.4f} to {history.recent_loss(10):.4f}{of}")
    if (found := best(history)) is not None:
        step, loss = history.validations()[-1]
        click.echo(f"validation loss: {found[1]:.4f} at step {found[0]:,} (the best), {loss:.4f} at step {step:,} (the last)")
    click.echo("history:")
    for event in lineage.events(history):
        click.echo(f"  {event.entry['time']}  {entry_line(event)}")


def sparkline(values: "NDArray[np.float32]", width: int = 60) -> str:
    """Values as a line of bars, each the mean of as many: low ones are small."""
    import numpy as np

    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(width, len(values)))])
    span = means.max() - means.min()
    heights = np.zeros(len(means), int) if not 0 < span < np.inf else np.rint(7 * (means - means.min()) / span).astype(int)
    return "".join("▁▂▃▄▅▆▇█"[height] for height in heights)
