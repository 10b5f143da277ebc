"""`femto train`: trains a model, from where it stopped."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import click

from femto import config
from femto.commands.shared import model_text
from femto.commands.shared.command_line import command
from femto.commands.shared.dependencies import given, refuse
from femto.commands.shared.history_text import recent_loss
from femto.commands.shared.notes import note
from femto.commands.shared.options import (
    Decorated,
    OrAuto,
    Texts,
    argument_bytes,
    by_role_option,
    json_option,
    model_dataset_option,
    model_option,
    option,
    parts_option,
    print_json,
    quiet_option,
    texts_option,
    threads_option,
)
from femto.system.text import counted

if TYPE_CHECKING:
    from femto.checkpoint.history import History

STORED = "as stored in the model"
AUTO = OrAuto(int, "auto")


def setting(name: str, type_: Any, values: str, help: str, default_text: str = STORED) -> Callable[[Decorated], Decorated]:
    """The option of a field of TrainConfig, which judges its value."""
    return option(name, type=type_, values=values, default_text=default_text, help=help)


@command("Train and use models", "train a model on a text, from where it stopped", place=30)
@model_option
@model_dataset_option
@option("--steps", default=100_000, type=click.IntRange(0), help="How many more steps to train.")
@option(
    "--until",
    type=click.IntRange(0),
    default_text="no total: --steps more",
    help="Up to which step of the model's life to train. The same command then finishes a run that was stopped or killed, with "
    "the same result, and does nothing when the model has so many steps.",
)
@setting("--batch-size", int, "1 to 1,048,576", "How many windows of the text one step learns from (B).")
@setting(
    "--micro-batch-size",
    AUTO,
    "a divisor of the batch size",
    "How many windows of a part are computed at a time. Fewer need less memory. auto chooses by the shapes of model and batch.",
)
@parts_option
@setting("--dropout", float, "0 to 0.99", "The probability that dropout sets a value to zero. 0 is no dropout.")
@setting("--learning-rate", float, "0 to 1000", "The highest learning rate, reached after the warm-up.")
@setting("--min-learning-rate", float, "0 to 1000", "The learning rate at the end of the decay and after it.")
@setting(
    "--warmup-steps",
    AUTO,
    "0 to 4,294,967,296",
    "For how many steps the learning rate rises to its highest. auto takes a tenth of --decay-steps, else of the run: "
    "at most 100, and at least 10 if the model has been trained before.",
    STORED + ", at first auto with the preset modern",
)
@setting(
    "--decay-steps",
    AUTO,
    "0 to 4,294,967,296",
    "For how many steps the learning rate falls from its highest to its minimum. 0 is no decay. auto lets it fall until the last "
    "of --steps.",
    STORED + ", at first auto with the preset modern",
)
@setting(
    "--decay",
    click.Choice(config.DECAYS),
    "",
    "How the learning rate falls: along a line, or along half a cosine wave.",
)
@setting(
    "--schedule",
    click.Choice(config.SCHEDULES),
    "",
    "What the warm-up and the decay belong to: each run, which begins at the learning rate where the last one ended; or the life "
    "of the model, all its steps, of which the first has a learning rate of 0, as models of earlier versions have it.",
)
@option(
    "--rewarm",
    is_flag=True,
    help="Raise the learning rate again from what it is now to its highest, over --warmup-steps, and begin its decay anew. The "
    "state of the optimiser stays. A run that is begun so, stopped and started again goes on.",
)
@setting(
    "--weight-decay",
    float,
    "0 to 1000",
    "How strongly AdamW pulls parameters towards zero. Each step shrinks them by the learning rate times this.",
)
@setting("--beta1", float, "0 to 0.999999", "How much of its mean of gradients AdamW keeps at each step.")
@setting("--beta2", float, "0 to 0.999999999", "How much of its mean of squared gradients AdamW keeps at each step.")
@setting("--epsilon", float, "1e-30 to 1", "What AdamW adds to the root of the mean square, so that it never divides by zero.")
@setting(
    "--clip-norm", float, "0 to 1e30", "The largest norm of the gradient. Larger ones are scaled down to it. 0 is no clipping."
)
@setting("--optimizer", click.Choice(config.OPTIMIZERS), "", "How gradients become updates of the parameters.")
@by_role_option(
    "--learning-rate-factor",
    "learning_rate_factors",
    STORED + ", at first 1",
    "What the learning rate is multiplied with for the tensors of a role.",
)
@by_role_option(
    "--weight-decay-of",
    "weight_decays",
    STORED + ", at first --weight-decay",
    "The weight decay for the tensors of a role.",
)
@setting("--validation-split", float, "0 to 0.9", "The last part of the text, as a share of its tokens, that is not trained on.")
@texts_option(
    "--validation-dataset",
    default_text="that of the last session, if no --validation-split is given",
    help="Another text to measure the loss on: files, folders, or - for standard input. All of --dataset is trained on then.",
)
@option(
    "--validate-every",
    default=250,
    type=click.IntRange(1),
    help="After how many steps to measure the loss on what is not trained on: on at most 65,536 tokens of it, in windows spread "
    "evenly. The command evaluate measures all of it.",
)
@option("--keep-best", is_flag=True, help="Keep the model of the best validation in a file beside: model.best.dat for model.dat.")
@option(
    "--patience",
    type=click.IntRange(1),
    default_text="never",
    help="End after so many validations in a row that are no better than the best, those of earlier sessions too.",
)
@option(
    "--snapshot-every",
    type=click.IntRange(1),
    default_text="never",
    help="After how many steps to keep a copy of the model that stays: model-500.dat for step 500 of model.dat.",
)
@option(
    "--save-every",
    type=OrAuto(click.IntRange(1)),
    default_text="about every 15 seconds",
    help="After how many steps to save the model.",
)
@option(
    "--sample-every",
    type=click.IntRange(1),
    default_text="never",
    help="After how many steps to show a sample of what the model writes.",
)
@option("--sample-prompt", default="\n", default_text="a newline", help="The text that a sample continues.")
@option("--sample-tokens", old="--sample-count", default=100, type=click.IntRange(1), help="How many tokens a sample has.")
@option(
    "--metrics",
    type=click.Path(),
    default_text="no file",
    help="A file that gets one line of JSON for every step, jump of the loss, validation and save. Lines are appended. Steps "
    "that a killed run told of and did not save are dropped from it.",
)
@option(
    "--seed",
    type=click.IntRange(0),
    default_text=STORED,
    help="The seed of the choice of windows and of dropout.",
)
@option(
    "--numerics",
    type=click.Choice(["stored", "latest"]),
    default="stored",
    help="Which version of the arithmetic to follow from here on: the model's own, which goes on to the same bytes as ever, or "
    "the newest. The history records the change.",
)
@option("--reset-optimizer", is_flag=True, help="Drop the state of the optimiser. The learning rate warms up again.")
@option(
    "--on-non-finite",
    default="stop",
    type=click.Choice(["stop", "skip"]),
    help="What to do when a loss or a gradient is not a finite number: stop before that step, or leave the step out.",
)
@quiet_option
@threads_option
@json_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    model: str,
    dataset: Texts | None,
    steps: int,
    until: int | None,
    validation_dataset: Texts | None,
    validate_every: int,
    keep_best: bool,
    patience: int | None,
    snapshot_every: int | None,
    rewarm: bool,
    save_every: int | None,
    sample_every: int | None,
    sample_prompt: str,
    sample_tokens: int,
    metrics: str | None,
    numerics: str,
    reset_optimizer: bool,
    on_non_finite: str,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on a text, from where it stopped, for --steps more steps or until a step.

    Settings that are not given are those that the model was last trained with; at first those of its preset. The model is saved
    now and then, and at the end. Ctrl-C, SIGTERM, SIGHUP and the warnings of job schedulers (SIGUSR1, SIGUSR2, SIGXCPU) finish
    the step, save, and say how many steps are left. Then the process ends by that signal.
    """
    import numpy as np

    from femto import checkpoint, generation, growth
    from femto.commands.shared.progress import Progress
    from femto.system.signals import StopRequest
    from femto.training import Step
    from femto.training.metrics import appending
    from femto.training.overfitting import best
    from femto.training.session import OutOfPatience, Session, Validation, best_path
    from femto.training.spikes import Spike

    if until is not None and given(ctx, "steps"):
        raise click.UsageError("give --steps or --until, not both")
    if validation_dataset is not None:
        if settings["validation_split"]:
            raise click.UsageError("give --validation-split or --validation-dataset, not both")
        if "-" in validation_dataset and "-" in (dataset or ()):
            raise click.UsageError("--dataset and --validation-dataset cannot both be standard input")
    if not sample_every:
        refuse(ctx, "sample_prompt", "sample_tokens", reason="without --sample-every")
    if quiet:
        refuse(ctx, "sample_every", reason="with --quiet, which shows no samples")
    validates_as_last = validation_dataset is None and settings["validation_split"] is None
    if validation_dataset is not None:
        settings["validation_split"] = 0.0
    with ExitStack() as stack:
        stack.enter_context(checkpoint.locked(model))
        loaded = checkpoint.load(model)
        if until is not None:
            steps = max(0, until - loaded.history.num_steps)
        if settings["batch_size"] is not None and settings["micro_batch_size"] is None:
            settings["micro_batch_size"] = "auto"  # the stored one was chosen for another batch
        if settings["parts"] is None and (settings["batch_size"] or 0) % max(1, loaded.training.parts):
            settings["parts"] = "auto"
        for name in ("learning_rate_factors", "weight_decays"):  # of the roles that are not given, those stored
            by_role = {**getattr(loaded.training, name), **settings[name]}
            settings[name] = {role: value for role, value in by_role.items() if value is not None}
        loaded.training = config.updated(loaded.training, settings)
        if reset_optimizer:
            growth.reset_optimizer(loaded)
        moves = numerics == "latest" and loaded.model.config.numerics != config.LATEST_NUMERICS
        if moves:
            loaded.move_to_numerics()
        read = model_text.read(dataset, loaded, other=False, quiet=quiet)  # `notes` says it
        held_out = model_text.read_validation(validation_dataset, loaded, last=validates_as_last, quiet=quiet)
        if held_out is None and not loaded.training.validation_split:
            needed = ": they need a validation; give --validation-split, such as 0.1, or --validation-dataset"
            refuse(ctx, "keep_best", "patience", "validate_every", reason=needed)
        if loaded.training.decay_steps == 0:
            refuse(ctx, "decay", "min_learning_rate", reason=": they need a decay; give --decay-steps")
        session = Session(
            *(loaded, read, model, save_every, validate_every, held_out),
            on_non_finite=on_non_finite,
            best_path=best_path(model) if keep_best else None,
            patience=patience or 0,
            snapshot_every=snapshot_every,
            rewarm=rewarm,
        )
        steps_before = loaded.history.num_steps
        helps = [] if keep_best else ["--keep-best keeps the best model"]
        helps += [] if patience else ["--patience ends such a run"]
        progress, stop = Progress(steps, quiet, advice=", ".join(helps)), StopRequest()
        last: dict[str, Any] = {}
        ended = False
        counts = {"skipped_steps": 0, "spikes": 0}
        for told in session.notes() if steps else []:
            note(told)
        rates = session.ahead(steps) if steps else None
        validated = {"validation_dataset": held_out.name} if held_out else {}
        training = rates.training if rates else loaded.training
        writer = stack.enter_context(appending(metrics, model, loaded, read.name, training, **validated)) if metrics else None
        if writer is not None and writer.dropped:
            note(f"{metrics}: dropped {counted(writer.dropped, 'line')} of steps that were not saved")
        if rates:
            progress.say(str(rates))
        if rates and rates.note:
            note(rates.note)
        stack.enter_context(stop.listening())
        stack.enter_context(progress.showing())
        for event in stack.enter_context(closing(session.run(steps, stop))):  # closed, it saves, whatever happens here
            progress.show(event)
            if writer is not None:
                writer.write(event)
            counts["skipped_steps"] += isinstance(event, Step) and event.skipped
            counts["spikes"] += isinstance(event, Spike)
            if isinstance(event, Validation):
                last |= {"validation_loss": event.loss.nats, "validation_bits_per_byte": event.loss.bits_per_byte}
            if isinstance(event, OutOfPatience):
                ended = True
            if isinstance(event, Step) and sample_every and event.step % sample_every == 0:
                sampling = generation.Sampling(seed=event.step)
                prompt = argument_bytes(sample_prompt)
                sample = prompt.lstrip(b"\n")
                for piece in generation.generate(loaded, prompt, sample_tokens, sampling):
                    sample += piece.data
                    if stop():
                        break
                progress.say(sample.decode("utf-8", "replace"))
        if steps == 0 and (reset_optimizer or moves):
            checkpoint.save(loaded, model)
    history = loaded.history
    result = {
        "model": model,
        "dataset": read.name,
        **validated,
        "num_steps": history.num_steps,
        "steps": history.num_steps - steps_before,
        "loss": history.recent_loss(10) if history.num_steps else None,
        "milliseconds_per_step": float(np.median(history.milliseconds[-100:])) if history.num_steps else None,
        "learning_rate_ahead": None if rates is None else str(rates),
        "steps_left": steps - (history.num_steps - steps_before),
        **counts,
        "seed": loaded.training.seed,
        "unknown_share": read.unknown_share,
        "stopped_by": "patience" if ended else stop.name,
        **last,
    }
    if (found := best(history)) is not None:
        result |= {"best_validation_step": found[0], "best_validation_loss": found[1]}
    if as_json:
        print_json(result)
    else:
        _print(result, history, until, on_non_finite)
    stop.end()


def _print(result: dict[str, Any], history: "History", until: int | None, on_non_finite: str) -> None:
    stopped = f"stopped by {result['stopped_by']} " if result["stopped_by"] else ""
    skipped = f", {result['skipped_steps']:,} skipped" if result["skipped_steps"] else ""
    steps = f"{counted(result['steps'], 'step')}{skipped}, {history.num_steps:,} in all{recent_loss(history)}"
    if until is not None and not result["steps"] and not result["steps_left"]:
        click.echo(f"{result['model']}: {counted(history.num_steps, 'step')} already, of --until {until}; nothing to do")
        return
    click.echo(f"{result['model']}: {stopped}after {steps}; saved")
    if result["stopped_by"] == "patience":
        return
    if not result["steps_left"]:
        return
    again = f"--steps {result['steps_left']}" + (" --on-non-finite skip" if on_non_finite == "skip" else "")
    how = "the same command goes on" if until is not None else f"with {again} the run is"
    click.echo(f"{counted(result['steps_left'], 'step')} left: {how} as if it had not been stopped", err=True)
