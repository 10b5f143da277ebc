"""`femto infer`: text from a model."""

import click

from femto.commands import main
from femto.commands.options import json_option, model_option, print_json, threads_option, unknown_warning


@main.command()
@click.argument("prompt")
@model_option
@click.option("--count", default=100, show_default=True, type=click.IntRange(0), help="Tokens to generate.")
@click.option("--temperature", default=0.5, show_default=True, type=click.FloatRange(0), help="0: always the likeliest token.")
@click.option("--top-k", default=0, show_default=True, type=click.IntRange(0), help="Choose among the k likeliest.")
@click.option("--top-p", default=1.0, show_default=True, help="Choose among the fewest that reach this probability.")
@click.option("--seed", type=click.IntRange(0), help="Of the choices. [default: random]")
@click.option(
    "--log-probs",
    type=click.IntRange(1),
    metavar="K",
    help="Show, for every token, the K likeliest with the model's own percentages.",
)
@threads_option
@json_option
def infer(
    prompt: str,
    model: str,
    count: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | None,
    log_probs: int | None,
    as_json: bool,
) -> None:
    """Continue PROMPT with what the model has learnt. The text streams to standard output."""
    from femto import checkpoint, generation
    from femto.system import random_numbers

    loaded = checkpoint.load(model, optimizer=False)
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(prompt)
    unknown_warning(tokenizer.count_unknown(ids), len(ids), "the prompt")
    sampling = generation.Sampling(temperature, top_k, top_p, random_numbers.fresh_seed() if seed is None else seed)
    stream = not as_json and not log_probs
    if stream:
        click.echo(prompt, nl=False)
    text, tokens = prompt, []
    for generated in generation.generate(loaded, prompt, count, sampling):
        text += generated.text
        step: dict[str, object] = {"id": generated.token, "token": tokenizer.decode([generated.token])}
        if stream:
            click.echo(generated.text, nl=False)
        if log_probs:
            likeliest = (-generated.probabilities).argsort(kind="stable")[:log_probs].tolist()
            candidates = [(tokenizer.decode([i]), float(generated.probabilities[i])) for i in likeliest]
            step["candidates"] = [{"token": token, "probability": p} for token, p in candidates]
            if not as_json:
                shown = ", ".join(f"({token!r}, {100 * p:.1f}%)" for token, p in candidates)
                click.echo(f"{step['token']!r}: [{shown}]")
        tokens.append(step)
    if as_json:
        print_json({"prompt": prompt, "text": text, "seed": sampling.seed, "tokens": tokens})
    else:
        click.echo(text if log_probs else "")
