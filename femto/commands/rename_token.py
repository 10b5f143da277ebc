"""`femto rename-token`: a reserved token becomes a real one."""

from typing import Any

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.found import counted_in_option, text_at_hand
from femto.commands.shared.options import Texts, json_option, model_or_tokenizer_option, option, print_json
from femto.system.text import counted


@command("Vocabularies", "turn a reserved token into a real one", place=40)
@click.argument("name")
@model_or_tokenizer_option("model.dat")
@option("--token-id", type=click.IntRange(0), default_text="the first reserved token", help="The id of the reserved token.")
@counted_in_option
@json_option
def rename_token(name: str, model: str, token_id: int | None, dataset: Texts | None, as_json: bool) -> None:
    """Turn a reserved token of a model, or of a tokenizer file, into NAME.

    From then on, NAME is one token in texts, unless a longer token begins at the same place or an earlier one takes its first
    byte. How often it is found in the text at hand is told. No tensor changes: what the model has learnt stays, and the new token
    begins with the embedding of its placeholder.
    """
    from femto import checkpoint, growth, tokenizers

    if checkpoint.is_model(model):
        with checkpoint.locked(model):
            loaded = checkpoint.load(model)
            text = text_at_hand(dataset, loaded.history)
            renamed = growth.rename_token(loaded, name, token_id)
            checkpoint.save(loaded, model)
        changed = loaded.tokenizer
    else:
        text = text_at_hand(dataset)
        changed = tokenizers.BpeTokenizer.renamed(tokenizers.load(model), name, token_id)
        renamed = changed.tokens.index(name.encode())
        tokenizers.save(changed, model)
    left = changed.num_reserved
    result: dict[str, Any] = {"model": model, "token_id": renamed, "token": name, "reserved_left": left}
    if not as_json:
        click.echo(f"{model}: token {renamed} is {name!r} now; {counted(left, 'reserved token')} left")
    result |= text.report(changed, [renamed], as_json)
    if as_json:
        print_json(result)
