"""`femto demo`: the main job on data that femto brings along."""

import os
from contextlib import closing
from typing import Any

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import json_option, option, print_json, threads_option

# Measured so that all ten actions are learnt: docs/measurements.md of the source.
SHAPE: dict[str, Any] = {"num_tokens": 80, "embedding_degree": 64, "num_layers": 4, "num_heads": 4}
TRAINING: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 0.0012,
    "min_learning_rate": 0.0,
}
STEPS = 3200


@command("Train and use models", "see a model learn, on data of its own, in a minute or two", place=10)
@option("--model", "-m", default="demo.dat", type=click.Path(), help="The file of the model. Only an earlier demo is replaced.")
@option("--steps", default=STEPS, type=click.IntRange(1), help="How many steps to train.")
@option("--seed", default=0, type=click.IntRange(0), help="The seed of the data, of the random parameters and of the training.")
@threads_option
@json_option
def demo(model: str, steps: int, seed: int, as_json: bool) -> None:
    """Generate a data set, train a model on it, and see what it has learnt, in a minute or two.

    The data set is `simple_dummy2` of the journal that femto comes from: every line has letters, a digit that says what to do
    with them, and the result. The journal's models learnt two of the ten actions in hours.
    """
    from femto import checkpoint, config, data, generation, tokenizers
    from femto.commands.shared.progress import Progress
    from femto.dummy_data import simple_dummy2
    from femto.errors import CheckpointError
    from femto.system.signals import StopRequest
    from femto.training.session import Session

    text = simple_dummy2.generate(seed)
    tokenizer = tokenizers.build("ascii", None)
    checkpoint.check_target(model)
    click.get_current_context().with_resource(checkpoint.locked(model))  # until the command ends
    if os.path.exists(model) and checkpoint.load(model, optimizer=False).history.entries[0].get("preset") != "demo":
        raise CheckpointError(f"{model} exists and is no earlier demo; choose another --model")
    preset = config.PRESETS["modern"]
    shape = config.ModelConfig(tokenizer.vocab_size, **SHAPE, **preset.model)
    settings = config.updated(preset.training, {"seed": seed, **TRAINING})
    made = checkpoint.create(shape, tokenizer, settings, preset="demo")
    dataset = data.from_text("simple_dummy2", text, tokenizer)
    progress, stop = Progress(steps), StopRequest()
    progress.say(f"data: simple_dummy2, {len(text):,} characters, such as {text.splitlines()[1]!r}")
    progress.say(f"model: {shape.num_parameters:,} parameters; training {steps:,} steps")
    with stop.listening(), progress.showing(), closing(Session(made, dataset, model).run(steps, stop)) as events:
        for event in events:
            progress.show(event)
    history = made.history
    if stop.name:
        if as_json:
            print_json({"model": model, "steps": history.num_steps, "stopped_by": stop.name})
        else:
            click.echo(f"{model}: stopped by {stop.name} after {history.num_steps:,} of {steps:,} steps, and saved")
        stop.end()
    progress.say("asking for every action on lines that the model has never seen …")
    table = simple_dummy2.evaluate(lambda prompt, count: generation.complete(made, prompt, count), lines_per_action=100)
    prompt = "".join(text.splitlines(keepends=True)[:2])
    sample = prompt + generation.complete(made, prompt, 60)
    if as_json:
        print_json(
            {
                "model": model,
                "num_parameters": shape.num_parameters,
                "steps": history.num_steps,
                "seconds": float(history.milliseconds.sum()) / 1000.0,
                "loss": history.recent_loss(50),
                "evaluation": table.to_json(),
                "sample": sample,
            }
        )
        return
    click.echo(table)
    click.echo(f"a sample that starts from the first two lines:\n{sample}")
    click.echo(
        f"loss {history.losses[0]:.4f} to {history.recent_loss(50):.4f} (the data's floor is 1.275) in "
        f"{history.milliseconds.sum() / 1000:.0f} s; saved as {model}: try femto infer --model {model} 'abcdef3'"
    )
