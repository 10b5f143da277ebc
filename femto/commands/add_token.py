"""`femto add-token`: one real token more, or several."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.found import counted_in_option, text_at_hand
from femto.commands.shared.growing import check_output
from femto.commands.shared.options import Texts, json_option, model_or_tokenizer_option, option, print_json
from femto.system.text import counted


@command("Vocabularies", "add a real token to a trained model", place=50)
@click.argument("tokens", nargs=-1, required=True)
@model_or_tokenizer_option("model.dat")
@option(
    "--output", type=click.Path(), default_text="the same file", help="The file of the model, or tokenizer, with more tokens."
)
@option("--force", is_flag=True, help="Replace the output file if it exists and is not the input.")
@counted_in_option
@json_option
def add_token(tokens: tuple[str, ...], model: str, output: str | None, force: bool, dataset: Texts | None, as_json: bool) -> None:
    """Add TOKENS to the vocabulary of a model, or of a tokenizer file: words, or a separator such as '<|endoftext|>'.

    The model grows by a row for each. Texts without the new tokens are encoded as before, and their loss stays: the new tokens
    begin with almost no probability. They learn as soon as texts that have them are trained on. How often the text at hand has
    them is told. Where tokens are reserved, rename-token uses one of those, and the model keeps its size.
    """
    from femto import checkpoint, growth, tokenizers

    output = output or model
    check_output(model, output, force)
    if checkpoint.is_model(model):
        with checkpoint.locked(output):
            loaded = checkpoint.load(model)
            text = text_at_hand(dataset, loaded.history)
            grown = growth.add_tokens(loaded, tokens)
            checkpoint.save(grown, output)
        changed = grown.tokenizer
        before, after = loaded.model.config.num_parameters, grown.model.config.num_parameters
        result = {"model": output, "vocab_size": changed.vocab_size, "num_parameters": after}
        size = f"{after:,} parameters ({before:,} before), {changed.vocab_size:,} tokens"
    else:
        text = text_at_hand(dataset)
        changed = tokenizers.BpeTokenizer.extended(tokenizers.load(model), tokens)
        tokenizers.save(changed, output)
        result = {"model": output, "vocab_size": changed.vocab_size}
        size = counted(changed.vocab_size, "token")
    first = changed.vocab_size - len(tokens)
    ids = range(first, changed.vocab_size)
    if not as_json:
        named = f"{tokens[0]!r} is token {first}" if len(tokens) == 1 else f"the new ones are tokens {first} to {ids[-1]}"
        click.echo(f"{output}: {size}; {named}")
    result |= {"tokens": [{"token_id": index, "token": name} for index, name in zip(ids, tokens, strict=True)]}
    result |= text.report(changed, ids, as_json)
    if as_json:
        print_json(result)
