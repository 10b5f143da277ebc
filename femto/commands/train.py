"""`femto train`: trains a model, from where it stopped."""

from contextlib import ExitStack, closing
from typing import Any

import click

from femto.commands import main
from femto.commands.options import (
    dataset_option,
    json_option,
    model_option,
    print_json,
    threads_option,
    unknown_warning,
)

STORED = "  [default: as stored in the model]"


@main.command()
@model_option
@dataset_option
@click.option("--steps", default=100_000, show_default=True, type=click.IntRange(0), help="More steps to train.")
@click.option("--batch-size", type=int, help="Windows a step." + STORED)
@click.option(
    "--micro-batch-size",
    type=int,
    help="Windows computed at a time, a divisor of the batch size; 0: as many as 560 MiB of activations hold." + STORED,
)
@click.option("--dropout", type=float, help="Probability." + STORED)
@click.option("--learning-rate", type=float, help="Peak, after the warm-up." + STORED)
@click.option("--min-learning-rate", type=float, help="At the end of the decay and after it." + STORED)
@click.option("--warmup-steps", type=int, help="Steps from 0 to the peak." + STORED)
@click.option(
    "--decay-steps",
    type=int,
    help="Steps from the peak to the minimum; 0: no decay." + STORED[:-1] + "; modern: until the last of --steps]",
)
@click.option("--decay", type=click.Choice(["linear", "cosine"]), help="Form of the decay." + STORED)
@click.option("--weight-decay", type=float, help="AdamW's, decoupled." + STORED)
@click.option("--beta1", type=float, help="AdamW's." + STORED)
@click.option("--beta2", type=float, help="AdamW's." + STORED)
@click.option("--epsilon", type=float, help="AdamW's." + STORED)
@click.option("--clip-norm", type=float, help="Largest norm of the gradient; 0: no clipping." + STORED)
@click.option("--validation-split", type=float, help="Last share of the data set to hold out." + STORED)
@click.option("--validate-every", default=250, show_default=True, type=click.IntRange(1), help="Steps.")
@click.option("--save-every", type=click.IntRange(1), help="Steps between saves. [default: by time, about 15 s]")
@click.option("--sample-every", type=click.IntRange(1), help="Steps between samples of what the model writes.")
@click.option("--sample-prompt", default="\n", help="What those samples start from. [default: a newline]")
@click.option("--sample-count", default=100, show_default=True, type=click.IntRange(1), help="Tokens of a sample.")
@click.option("--metrics", type=click.Path(), help="File to append JSON lines to: every step, spike, validation and save.")
@click.option("--seed", type=click.IntRange(0), help="Of batches and dropout." + STORED)
@click.option("--reset-optimizer", is_flag=True, help="Drop the optimiser's state, and start its schedule, anew.")
@click.option(
    "--on-non-finite",
    default="stop",
    show_default=True,
    type=click.Choice(["stop", "skip"]),
    help="What to do with a step whose loss or gradient is not finite: stop there, or go on without it.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
@threads_option
@json_option
def train(
    model: str,
    dataset: str,
    steps: int,
    validate_every: int,
    save_every: int | None,
    sample_every: int | None,
    sample_prompt: str,
    sample_count: int,
    metrics: str | None,
    reset_optimizer: bool,
    on_non_finite: str,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on a text, from where it stopped, for --steps more steps.

    Settings that are not given are those that the model was last trained with; at first those of its preset. Ctrl-C or SIGTERM
    finishes the step, saves and exits with status 0.
    """
    import numpy as np

    from femto import checkpoint, config, data, generation, growth
    from femto.commands.progress import Progress, StopRequest
    from femto.errors import DataError
    from femto.optimizers.schedule import learning_rate
    from femto.training import Step
    from femto.training.metrics import Metrics, opened
    from femto.training.session import Session, Validation
    from femto.training.spikes import Spike

    with ExitStack() as stack:
        stack.enter_context(checkpoint.locked(model))
        loaded = checkpoint.load(model)
        if settings["batch_size"] is not None and settings["micro_batch_size"] is None:
            settings["micro_batch_size"] = 0  # the stored one was chosen for another batch
        loaded.training = config.updated(loaded.training, settings)
        if reset_optimizer:
            growth.reset_optimizer(loaded)
        read = data.load_dataset(dataset, loaded.tokenizer)
        unknown_warning(read.num_unknown, len(read.ids), dataset)
        session = Session(loaded, read, model, save_every, validate_every, on_non_finite=on_non_finite)
        steps_before = loaded.history.num_steps
        progress, stop = Progress(steps, quiet), StopRequest()
        last: dict[str, Any] = {}
        counts = {"skipped_steps": 0, "spikes": 0}
        try:
            file = stack.enter_context(opened(metrics)) if metrics else None
        except OSError as error:
            raise DataError(f"{metrics}: cannot write metrics: {error.strerror}") from error
        end = loaded.training.warmup_steps + (loaded.training.decay_steps or 0)
        if loaded.training.decay_steps and loaded.optimizer is not None and loaded.optimizer.step >= end:
            progress.say(
                f"note: the learning rate fell until step {end:,} and stays at {learning_rate(end, loaded.training):g}; "
                "--decay-steps makes its decay longer, --reset-optimizer begins it anew"
            )
        writer = Metrics(file, metrics)
        writer.write({"event": "session", "model": model, "dataset": dataset, **config.to_json(loaded.training)})
        stack.enter_context(stop.listening())
        stack.enter_context(progress.showing())
        for event in stack.enter_context(closing(session.run(steps, stop))):  # closed, it saves, whatever happens here
            progress.show(event)
            writer.write(event)
            counts["skipped_steps"] += isinstance(event, Step) and event.skipped
            counts["spikes"] += isinstance(event, Spike)
            if isinstance(event, Validation):
                last |= {"validation_loss": event.loss.nats, "validation_bits_per_byte": event.loss.bits_per_byte}
            if isinstance(event, Step) and sample_every and event.step % sample_every == 0:
                sampling = generation.Sampling(seed=event.step)
                sample = sample_prompt.lstrip("\n")
                for piece in generation.generate(loaded, sample_prompt, sample_count, sampling):
                    sample += piece.text
                    if stop():
                        break
                progress.say(sample)
        if steps == 0 and reset_optimizer:
            checkpoint.save(loaded, model)
    history = loaded.history
    result = {
        "model": model,
        "num_steps": history.num_steps,
        "steps": history.num_steps - steps_before,
        "loss": history.recent_loss(10) if history.num_steps else None,
        "milliseconds_per_step": float(np.median(history.milliseconds[-100:])) if history.num_steps else None,
        "steps_left": steps - (history.num_steps - steps_before),
        **counts,
        "seed": loaded.training.seed,
        "unknown_share": read.unknown_share,
        "stopped_by": stop.name,
        **last,
    }
    if as_json:
        print_json(result)
        return
    stopped = f"stopped by {stop.name} " if stop.name else ""
    loss = f", loss {result['loss']:.4f} over the last 10" if result["loss"] is not None else ""
    skipped = f", {counts['skipped_steps']:,} skipped" if counts["skipped_steps"] else ""
    click.echo(f"{model}: {stopped}after {result['steps']:,} steps{skipped}, {history.num_steps:,} in all{loss}; saved")
    if result["steps_left"]:
        again = f"--steps {result['steps_left']}" + (" --on-non-finite skip" if on_non_finite == "skip" else "")
        click.echo(f"{result['steps_left']:,} steps are left: with {again} the run is as if it had not been stopped", err=True)
