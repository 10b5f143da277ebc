"""`femto bench`: how fast this machine trains a model of a given shape."""

from typing import Any

import click

from femto import config
from femto.commands.shared.command_line import command
from femto.commands.shared.dependencies import given, nothing, refuse
from femto.commands.shared.notes import note
from femto.commands.shared.options import (
    OrAuto,
    json_option,
    option,
    parts_option,
    preset_option,
    print_json,
    shape_options,
    threads_option,
)
from femto.system.text import counted


@command("Train and use models", "measure how fast this machine trains and generates", place=60)
@option(
    "--vocab-size",
    default=101,
    values="1 to 65,536",
    help="The number of tokens in the vocabulary (V): at first that of the tokenizer ascii, which init takes.",
)
@shape_options
@option("--dropout", default=0.0, values="0 to 0.99", help="The probability that dropout sets a value to zero. 0 is no dropout.")
@option(
    "--batch-size",
    type=int,
    values="1 to 1,048,576",
    default_text="16 with the preset modern, 32 with reference",
    help="How many windows one step learns from (B).",
)
@option(
    "--micro-batch-size",
    type=OrAuto(int, "auto"),
    values="a divisor of the batch size",
    default_text="auto, by the shapes of model and batch",
    help="How many windows of a part are computed at a time. Fewer need less memory.",
)
@parts_option
@preset_option
@option("--optimizer", type=click.Choice(config.OPTIMIZERS), default="adamw", help="How gradients become updates.")
@option("--kernels", "show_kernels", is_flag=True, help="Show a table of every kernel in those steps.")
@option("--infer", is_flag=True, help="Measure generation, one token at a time, instead of training.")
@option("--steps", default=20, type=click.IntRange(1), help="How many steps to time.")
@threads_option
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    vocab_size: int,
    dropout: float,
    batch_size: int | None,
    micro_batch_size: int | str | None,
    parts: int | str | None,
    preset: str,
    optimizer: str,
    show_kernels: bool,
    infer: bool,
    steps: int,
    as_json: bool,
    **shape: Any,
) -> None:
    """Measure how fast this machine trains a model of a given shape, at first of the shape that `femto init` makes.

    Whole training steps are timed: forward, backward, clipping and update. The speed is compared with the highest that the same
    threads reach in this run. --kernels shows time, speed and share of the step for every kernel. --infer times the generation of
    text instead.
    """
    from femto.profiling import benchmark

    if infer:
        refuse(ctx, "show_kernels", reason="with --infer, which measures generation")
        if unused := given(ctx, "dropout", "batch_size", "micro_batch_size", "parts", "optimizer"):
            note(nothing(unused, "with --infer, which measures generation"))
    chosen = config.PRESETS[preset]
    changes = {
        "dropout": dropout,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "parts": parts,
        "optimizer": optimizer,
    }
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
    click.echo(f"{result['params']:,} parameters, {counted(result['threads'], 'thread')}, {result['isa']}")
    click.echo(text)
    if result["cores_busy"]:
        share = f"{result['cpu_share']:.0%} of a core each"
        note(f"other programs keep the cores busy: threads used: {result['threads']}, with {share}")
