"""Options that several commands share, and what they have in common."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

model_option = click.option("--model", "-m", default="model.dat", show_default=True, type=click.Path(), help="File of the model.")
dataset_option = click.option(
    "--dataset",
    default="dataset.txt",
    show_default=True,
    type=click.Path(allow_dash=True),
    help="Text to read; - reads standard input.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
tokenizer_data_option = click.option(
    "--tokenizer-data", default="tokenizer.json", show_default=True, type=click.Path(), help="File of the tokenizer."
)
case_option = click.option(
    "--case-sensitive/--case-insensitive", default=None, help="Insensitive: all text is lower-cased. [default: sensitive]"
)


def set_threads(ctx: click.Context, parameter: click.Parameter, value: int | None) -> None:
    if value is not None:
        from femto import kernels

        kernels.set_num_threads(value)


threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 4096),
    callback=set_threads,
    expose_value=False,
    help="Threads of the kernels. [default: FEMTO_THREADS, OMP_NUM_THREADS, or the physical cores]",
)


def shape_options(command: Command) -> Command:
    """The shape of a model, for `init` and `bench`."""
    for option in reversed(
        [
            click.option("--num-tokens", default=80, show_default=True, help="Context in tokens (T)."),
            click.option("--embedding-degree", default=80, show_default=True, help="Width of the model (d)."),
            click.option("--num-layers", default=4, show_default=True, help="Layers (L)."),
            click.option("--num-heads", default=4, show_default=True, help="Attention heads (H), a divisor of d."),
        ]
    ):
        command = option(command)
    return command


def print_json(document: object) -> None:
    from femto.system.text import finite

    click.echo(json.dumps(finite(document), ensure_ascii=False, indent=2))


def unknown_warning(count: int, total: int, what: str) -> None:
    """Say on standard error how many of a text's tokens the tokenizer does not know."""
    if count:
        share = f"{count / total:.2%} of {what} is <unk>, {count:,} of {total:,} tokens"
        click.echo(f"note: {share}: its tokenizer lacks those characters", err=True)
