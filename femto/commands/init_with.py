"""`femto init-with`: the layers of a trained model for another vocabulary."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.new_model import report
from femto.commands.shared.options import OrAuto, force_option, json_option, option, tokenizer_data_option


@command("Grow and convert models", "reuse the layers of a model for another vocabulary", place=40)
@option("--parent", default="parent.dat", type=click.Path(), help="The file of the model to take the layers from.")
@option("--child", default="model.dat", type=click.Path(), help="The file of the new model.")
@tokenizer_data_option
@option(
    "--num-tokens",
    type=OrAuto(int),
    values="1 to 65,536",
    default_text="that of the parent",
    help="The context of the new model: how many tokens it looks at (T).",
)
@option(
    "--seed",
    type=click.IntRange(0),
    default_text="a random one",
    help="The seed of the new tensors, and of the training later.",
)
@option("--fresh-embeddings", is_flag=True, help="Keep nothing of any token. This is what the original program did.")
@force_option
@json_option
def init_with(
    parent: str,
    child: str,
    tokenizer_data: str,
    num_tokens: int | None,
    seed: int | None,
    fresh_embeddings: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a new model for another vocabulary from the layers of a trained one.

    All tensors are those of the parent, except token_embedding, head_map_weights and head_map_bias. These have a row or a column
    for each token: those of tokens that both vocabularies have are kept, the others are random.
    """
    from femto import checkpoint, growth
    from femto.system import random_numbers

    checkpoint.check_target(child, replace=force)
    loaded = checkpoint.load(parent, optimizer=False)
    made = checkpoint.load_tokenizer(tokenizer_data)
    if seed is None:
        seed = random_numbers.fresh_seed()
    grown = growth.init_with(loaded, made, num_tokens, seed, keep_tokens=not fresh_embeddings)
    with checkpoint.locked(child):
        checkpoint.save(grown, child)
    kept = 0 if fresh_embeddings else grown.history.entries[0]["kept_tokens"]
    also = f"; kept {kept} of the {made.vocab_size} tokens"
    report(child, grown.model.config, seed, as_json, also, parent=parent, kept_tokens=kept)
