"""`femto infer`: text from a model."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import json_option, model_option, option, print_json, threads_option, unknown_warning


@command("Train and use models", "continue a prompt", place=40)
@click.argument("prompt")
@model_option
@option("--max-new-tokens", old="--count", default=100, type=click.IntRange(0), help="How many tokens to generate.")
@option(
    "--temperature",
    default=0.5,
    type=click.FloatRange(0),
    values="0 to 1,000",
    help="How bold the choices are. 0 always takes the likeliest token, 1 follows the probabilities of the model.",
)
@option(
    "--top-k", default=0, type=click.IntRange(0), help="Choose among so many of the likeliest tokens only. 0 is among all tokens."
)
@option(
    "--top-p",
    default=1.0,
    values="above 0, at most 1",
    help="Choose among the fewest likeliest tokens whose probabilities add up to this. 1 is among all tokens.",
)
@option(
    "--seed",
    type=click.IntRange(0),
    default_text="a random one",
    help="The seed of the choices. The same seed gives the same text.",
)
@option(
    "--candidates",
    old="--log-probs",
    type=click.IntRange(1),
    default_text="none",
    help="Show so many of the likeliest tokens at every step, with the probabilities of the model in percent.",
)
@threads_option
@json_option
def infer(
    prompt: str,
    model: str,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | None,
    candidates: int | None,
    as_json: bool,
) -> None:
    """Continue the text PROMPT with a model. The result streams to standard output."""
    from femto import checkpoint, generation
    from femto.system import random_numbers

    loaded = checkpoint.load(model, optimizer=False)
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(prompt)
    unknown_warning(tokenizer.count_unknown(ids), len(ids), "the prompt")
    sampling = generation.Sampling(temperature, top_k, top_p, random_numbers.fresh_seed() if seed is None else seed)
    stream = not as_json and not candidates
    if stream:
        click.echo(prompt, nl=False)
    text, tokens = prompt, []
    for generated in generation.generate(loaded, prompt, max_new_tokens, sampling):
        text += generated.text
        step: dict[str, object] = {"id": generated.token, "token": tokenizer.decode([generated.token])}
        if stream:
            click.echo(generated.text, nl=False)
        if candidates:
            likeliest = (-generated.probabilities).argsort(kind="stable")[:candidates].tolist()
            shares = [(tokenizer.decode([i]), float(generated.probabilities[i])) for i in likeliest]
            step["candidates"] = [{"token": token, "probability": p} for token, p in shares]
            if not as_json:
                shown = ", ".join(f"({token!r}, {100 * p:.1f}%)" for token, p in shares)
                click.echo(f"{step['token']!r}: [{shown}]")
        tokens.append(step)
    if as_json:
        print_json({"prompt": prompt, "text": text, "seed": sampling.seed, "tokens": tokens})
    else:
        click.echo(text if candidates else "")
