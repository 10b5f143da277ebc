"""`femto bench`: how fast this machine trains a model of a given shape."""

from typing import Any

import click

from femto.commands import main
from femto.commands.initialize import PRESETS
from femto.commands.options import json_option, print_json, shape_options, threads_option


@main.command()
@click.option("--vocab-size", default=257, show_default=True, help="Vocabulary (V).")
@shape_options
@click.option("--dropout", default=0.0, show_default=True, help="Probability.")
@click.option("--batch-size", default=32, show_default=True, help="Windows a step (B).")
@click.option("--micro-batch-size", type=int, help="Windows computed at a time. [default: by memory]")
@click.option("--preset", default="modern", show_default=True, type=click.Choice(PRESETS), help="Architecture.")
@click.option("--kernels", "show_kernels", is_flag=True, help="A table of every kernel inside those steps.")
@click.option("--infer", is_flag=True, help="Time generation with the key/value cache instead of training.")
@click.option("--steps", default=20, show_default=True, type=click.IntRange(1), help="Steps to time.")
@threads_option
@json_option
def bench(
    vocab_size: int,
    dropout: float,
    batch_size: int,
    micro_batch_size: int | None,
    preset: str,
    show_kernels: bool,
    infer: bool,
    steps: int,
    as_json: bool,
    **shape: Any,
) -> None:
    """Time whole training steps: forward, backward, clipping and AdamW, against the measured peak of the same threads.

    With --kernels, the time, speed and share of the step of every kernel at the shapes of the configuration. With --infer, tokens
    a second of generation inside the context, --steps times over.
    """
    from femto import config
    from femto.profiling import benchmark

    chosen = config.PRESETS[preset]
    changes = {"dropout": dropout, "batch_size": batch_size, "micro_batch_size": micro_batch_size}
    training = config.updated(chosen.training, changes)
    model_config = config.ModelConfig(vocab_size, **shape, **chosen.model)
    if infer:
        result = benchmark.time_inference(model_config, steps)
        text = f"{result['tokens_per_second']:,.0f} tokens/s, {result['microseconds_per_token']:.0f} us a token, one at a time"
    elif show_kernels:
        result = benchmark.time_kernels(model_config, training, steps)
        text = benchmark.kernel_table(result)
    else:
        result = benchmark.time_steps(model_config, training, steps)
        text = (
            f"step: median {result['median_ms']:.2f} ms, fastest {result['min_ms']:.2f} ms\n"
            f"speed: {result['tokens_per_second']:,.0f} tokens/s, {result['gflops']:.1f} GF/s, "
            f"{result['fraction_of_peak']:.0%} of the measured peak of {result['peak_gflops']:.1f} GF/s\n"
            f"memory: {result['peak_rss_mib']:.0f} MiB resident at most"
        )
    if as_json:
        print_json(result)
        return
    click.echo(f"{result['params']:,} parameters, {result['threads']} threads, {result['isa']}")
    click.echo(text)
