"""`femto chunks` and `femto cluster-tokens`: what a model knows of a text, and of its tokens."""

import json
import sys
import time

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

SAVE_SECONDS = 15.0


@main.command()
@model_option
@dataset_option
@click.option("--chunk-size", type=click.IntRange(2), help="Tokens of a chunk. [default: the context, and one more]")
@click.option("--count", default=5, show_default=True, type=click.IntRange(0), help="Chunks to show, best and worst.")
@click.option("--output", default="chunks.json", show_default=True, type=click.Path(), help="File of all losses.")
@threads_option
@json_option
def chunks(model: str, dataset: str, chunk_size: int | None, count: int, output: str, as_json: bool) -> None:
    """Show the passages of a text that the model knows best and worst.

    The losses of all chunks go to --output, every 15 seconds and at the end; what stands there of the same model, text and chunk
    size is not computed again, so that a run that was stopped (Ctrl-C, SIGTERM, SIGHUP: it saves) goes on. Losses of anything
    else are replaced.
    """
    import numpy as np

    from femto import checkpoint, data
    from femto.analysis.chunks import LossFile, chunk_losses
    from femto.commands.progress import StopRequest

    loaded = checkpoint.load(model, optimizer=False)
    read = data.load_dataset(dataset, loaded.tokenizer)
    data.require_two(read.ids, dataset)
    unknown_warning(read.num_unknown, len(read.ids), dataset)
    chunk_size = chunk_size or loaded.model.config.num_tokens + 1
    file = LossFile(output, loaded.model, read, chunk_size)
    losses, total = file.losses, file.num_chunks
    if losses and not as_json:
        click.echo(f"{output}: {len(losses)} of {total} chunks are there already", err=True)
    last_save = time.monotonic()
    bar = click.progressbar(length=total, file=sys.stderr, hidden=not sys.stderr.isatty())
    with bar, StopRequest().listening() as stop:
        bar.update(len(losses))
        for some in chunk_losses(loaded.model, read.ids, chunk_size, len(losses)):
            losses += some.tolist()
            bar.update(len(some))
            if stop():
                break
            if time.monotonic() - last_save > SAVE_SECONDS:
                file.save()
                last_save = time.monotonic()
    file.save()
    if len(losses) < total:
        click.echo(f"{output}: stopped by {stop.name} after {len(losses)} of {total} chunks; the same command goes on", err=True)
        return
    order = np.argsort(losses, kind="stable").tolist()
    shown = {"best": order[:count], "worst": order[::-1][:count]}
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
        print_json({"model": model, "dataset": dataset, "chunk_size": chunk_size, "num_chunks": total, **passages})
        return
    predicted = [min(chunk_size, len(read.ids) - chunk * chunk_size) - 1 for chunk in range(total)]
    mean = np.average(losses, weights=predicted)
    click.echo(f"{total} chunks of {chunk_size} tokens, mean loss {mean:.4f} nats a token")
    for which, chosen in passages.items():
        for passage in chosen:
            click.echo(f"---- {which}: chunk {passage['chunk']}, loss {passage['loss']:.4f} ----")
            click.echo(passage["text"])


@main.command()
@model_option
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1), help="Pairs of each head.")
@json_option
def cluster_tokens(model: str, limit: int, as_json: bool) -> None:
    """Print the pairs of tokens whose embeddings are most alike, head by head, with their cosines."""
    from femto import checkpoint
    from femto.analysis.embeddings import closest_tokens

    loaded = checkpoint.load(model, optimizer=False)
    names = loaded.tokenizer.readable_tokens()
    heads = [closest_tokens(loaded.model, head, limit) for head in range(loaded.model.config.num_heads)]
    if as_json:
        document = [
            [
                {"first_id": pair.first, "second_id": pair.second, "tokens": [names[pair.first], names[pair.second]]}
                | {"cosine": pair.cosine}
                for pair in pairs
            ]
            for pairs in heads
        ]
        print_json({"model": model, "heads": document})
        return
    for head, pairs in enumerate(heads):
        click.echo(f"---- Head {head} ----")
        for pair in pairs:
            first, second = (json.dumps(names[index], ensure_ascii=False) for index in (pair.first, pair.second))
            click.echo(f"{first} <-> {second}: {pair.cosine}")
