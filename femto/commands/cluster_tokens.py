"""`femto cluster-tokens`: tokens whose embeddings are alike."""

import json

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import json_option, model_option, option, print_json


@command("Look into models", "list the tokens whose embeddings are alike", place=70)
@model_option
@option("--limit", default=10, type=click.IntRange(1), help="How many pairs of tokens to print for each head.")
@json_option
def cluster_tokens(model: str, limit: int, as_json: bool) -> None:
    """Print the pairs of tokens whose embeddings are most alike, head by head.

    The last number of a line is the cosine of the two embeddings: 1 means the same direction.
    """
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
