"""`femto evaluate`: the loss of a model on a text."""

import click

from femto.commands.shared import model_text
from femto.commands.shared.command_line import command
from femto.commands.shared.history_text import for_unknown
from femto.commands.shared.notes import note
from femto.commands.shared.options import (
    Texts,
    json_option,
    model_dataset_option,
    model_option,
    option,
    print_json,
    threads_option,
)


@command("Train and use models", "measure the loss on a text, in nats a token and bits a byte", place=50)
@model_option
@model_dataset_option
@option(
    "--validation-split",
    type=float,
    values="above 0, at most 1",
    default_text="the whole text",
    help="Evaluate only the last part of the text, as a share of its tokens. 0.1 is the last tenth.",
)
@threads_option
@json_option
def evaluate(model: str, dataset: Texts | None, validation_split: float | None, as_json: bool) -> None:
    """Measure the loss of a model on a text: nats a token, bits a byte, perplexity.

    Bits a byte count 8 more for each <unk>, which stands for a byte that the tokenizer does not know; nats and perplexity count
    <unk> as a token like the others. For a case-insensitive tokenizer all is of the text in lower case.

    Lower is better. Give the --validation-split of the training to measure only text that the model was not trained on.
    """
    from femto import checkpoint, data, training
    from femto.training.notes import trained_on

    if validation_split is not None and not 0.0 < validation_split <= 1.0:
        raise click.BadParameter("must be above 0 and at most 1", param_hint="--validation-split")
    loaded = checkpoint.load(model, optimizer=False)
    read = model_text.read(dataset, loaded)
    share = validation_split or 1.0
    ids = data.last_part(read.ids, share)
    data.require_two(ids, f"{read.name}: the part to evaluate")
    if told := trained_on(loaded.history, read, share):
        note(told)
    result = training.evaluate(loaded.model, ids, loaded.tokenizer)
    if as_json:
        print_json(
            {
                "model": model,
                "dataset": read.name,
                "loss": result.nats,
                "bits_per_byte": result.bits_per_byte,
                "perplexity": result.perplexity,
                "tokens": result.num_predictions,
                "unknown_share": read.unknown_share,
            }
        )
        return
    click.echo(f"loss: {result.nats:.4f} nats a token")
    lower = "" if loaded.tokenizer.case_sensitive else ", of the text in lower case"
    click.echo(f"bits a byte: {result.bits_per_byte:.4f}{for_unknown(result)}{lower}")
    click.echo(f"perplexity: {result.perplexity:.4f}")
    click.echo(f"tokens: {result.num_predictions:,}")
