"""`femto chunks`: the passages of a text that a model knows best and worst."""

import time

import click

from femto.commands.shared import model_text
from femto.commands.shared.command_line import command
from femto.commands.shared.options import (
    OrAuto,
    Texts,
    json_option,
    model_dataset_option,
    model_option,
    option,
    print_json,
    threads_option,
)
from femto.system.text import counted

SAVE_SECONDS = 15.0


@command("Look into models", "show the passages that a model knows best and worst", place=60)
@model_option
@model_dataset_option
@option(
    "--chunk-size",
    type=OrAuto(click.IntRange(2)),
    default_text="one more than the context of the model",
    help="How many tokens a chunk has.",
)
@option(
    "--num-chunks",
    old="--count",
    default=5,
    type=click.IntRange(0),
    help="How many chunks to show: so many of the best, and as many of the worst.",
)
@option("--output", default="chunks.json", type=click.Path(), help="The file for the losses of all chunks.")
@threads_option
@json_option
def chunks(model: str, dataset: Texts | None, chunk_size: int | None, num_chunks: int, output: str, as_json: bool) -> None:
    """Show the passages of a text that the model knows best and worst.

    The text is cut into chunks, and the loss of each is measured. All losses go to --output, every 15 seconds and at the end. A
    signal that stops `femto train` stops this too: it saves, and the same command goes on from there, if model, text and chunk
    size are the same. Losses of anything else are replaced.
    """
    import numpy as np

    from femto import checkpoint, data
    from femto.analysis.chunks import LossFile, chunk_losses
    from femto.commands.shared.bar import Bar
    from femto.system.signals import StopRequest

    loaded = checkpoint.load(model, optimizer=False)
    read = model_text.read(dataset, loaded)
    data.require_two(read.ids, read.name)
    chunk_size = chunk_size or loaded.model.config.num_tokens + 1
    file = LossFile(output, loaded.model, read, chunk_size)
    losses, total = file.losses, file.num_chunks
    if losses and not as_json:
        click.echo(f"{output}: {len(losses)} of {counted(total, 'chunk')} are there already", err=True)
    last_save = time.monotonic()
    with Bar(total) as bar, StopRequest().listening() as stop:
        for some in chunk_losses(loaded.model, read.ids, chunk_size, len(losses)):
            losses += some.tolist()
            bar.update(len(losses), f"{len(losses):,} chunks")
            if stop():
                break
            if time.monotonic() - last_save > SAVE_SECONDS:
                file.save()
                last_save = time.monotonic()
    file.save()
    if len(losses) < total:
        click.echo(
            f"{output}: stopped by {stop.name} after {len(losses)} of {counted(total, 'chunk')}; the same command goes on",
            err=True,
        )
        stop.end()
    order = np.argsort(losses, kind="stable").tolist()
    shown = {"best": order[:num_chunks], "worst": order[::-1][:num_chunks]}
    passages = {
        which: [
            {
                "chunk": chunk,
                "loss": losses[chunk],
                "text": loaded.tokenizer.decode(read.ids[chunk * chunk_size : (chunk + 1) * chunk_size]),
            }
            for chunk in chosen
        ]
        for which, chosen in shown.items()
    }
    if as_json:
        print_json({"model": model, "dataset": read.name, "chunk_size": chunk_size, "num_chunks": total, **passages})
        return
    predicted = [min(chunk_size, len(read.ids) - chunk * chunk_size) - 1 for chunk in range(total)]
    mean = np.average(losses, weights=predicted)
    click.echo(f"{counted(total, 'chunk')} of {counted(chunk_size, 'token')}, mean loss {mean:.4f} nats a token")
    for which, chosen in passages.items():
        for passage in chosen:
            click.echo(f"---- {which}: chunk {passage['chunk']}, loss {passage['loss']:.4f} ----")
            click.echo(passage["text"])
