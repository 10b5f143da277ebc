"""`femto infer`: text from a model."""

import errno
import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.dependencies import refuse
from femto.commands.shared.notes import note, unknown_note
from femto.commands.shared.options import OrAuto, argument_bytes, model_option, option, print_json_text, threads_option

if TYPE_CHECKING:
    from femto.generation import Generated
    from femto.tokenizers import Tokenizer


@command("Train and use models", "continue a prompt", place=40)
@click.argument("prompts", metavar="[PROMPT]...", nargs=-1)
@option(
    "--prompt-file",
    "prompt_files",
    type=click.Path(allow_dash=True),
    multiple=True,
    values="a file, or - for standard input; any number of times",
    default_text="none",
    help="A file whose bytes, all of them, are one more prompt.",
)
@model_option
@option("--max-new-tokens", old="--count", default=100, type=click.IntRange(0), help="How many tokens to generate at most.")
@option(
    "--stop",
    multiple=True,
    values="a text, or the name of a token; any number of times",
    default_text="none",
    help="End a text where this comes in what the model writes. It is not printed.",
)
@option("--num-samples", default=1, type=click.IntRange(1), help="How many texts to generate for each prompt.")
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
    "--context-shift",
    type=OrAuto(int),
    values="1 to the context of the model",
    default_text="auto, half the context",
    help="How many of the oldest tokens are left out when the context is full. 1 lets the model see as many tokens as it can. "
    "That costs many times as much, because it then looks at the whole context anew for every token.",
)
@option(
    "--seed",
    type=click.IntRange(0),
    default_text="a random one",
    help="The seed of the choices. The same seed gives a prompt the same samples, however many there are, and whatever other "
    "prompts there are.",
)
@option(
    "--candidates",
    old="--log-probs",
    type=click.IntRange(1),
    default_text="none",
    help="Show so many of the likeliest tokens at every step, with the probabilities of the model in percent.",
)
@threads_option
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one for each text, instead of text.")
@click.pass_context
def infer(
    ctx: click.Context,
    /,
    prompts: tuple[str, ...],
    prompt_files: tuple[str, ...],
    model: str,
    max_new_tokens: int,
    stop: tuple[str, ...],
    num_samples: int,
    temperature: float,
    top_k: int,
    top_p: float,
    context_shift: int | None,
    seed: int | None,
    candidates: int | None,
    as_json: bool,
) -> None:
    """Continue each text PROMPT with a model. The result streams to standard output.

    A PROMPT of - is read from standard input. Prompts are taken as they are, to the byte: a newline at the end of a file, or of
    what `echo` prints, is part of the prompt. Several texts come one after another, each below a line that says which it is.

    When prompt and new tokens are longer than the context of the model (--num-tokens of `femto init`), the oldest tokens are left
    out (--context-shift).
    """
    if temperature == 0:
        refuse(ctx, "top_k", "top_p", reason="with --temperature 0, which takes the likeliest token")
    from femto import checkpoint, generation
    from femto.system import random_numbers
    from femto.text_files import other_form
    from femto.tokenizers import StopTexts

    sources = [*prompts, *prompt_files]
    if not sources:
        raise click.UsageError("there is no prompt: give a PROMPT, - for standard input, or --prompt-file")
    if sources.count("-") > 1:
        raise click.UsageError("standard input can be read once: give - once")
    sampling = generation.Sampling(temperature, top_k, top_p, random_numbers.fresh_seed() if seed is None else seed)
    stops = StopTexts([argument_bytes(text) for text in stop]).texts
    loaded = checkpoint.load(model, optimizer=False)
    tokenizer = loaded.tokenizer
    given = [read_prompt(text) if text == "-" else argument_bytes(text) for text in prompts]
    given += [read_prompt(path) for path in prompt_files]
    for number, prompt in enumerate(given, 1):
        ids = tokenizer.encode(prompt)
        name = "the prompt" if len(given) == 1 else f"prompt {number}"
        unknown_note(tokenizer.count_unknown(ids), len(ids), name)
        if form := other_form(prompt.decode("utf-8", "replace"), tokenizer):
            note(f"{name} {form[0]}")
    for text in stops:
        if not set(text) <= set(b"".join(tokenizer.tokens)):
            note(f"--stop {shown(text)} never comes: some of its bytes are in no token of the model")
    for number, sample in product(range(len(given)), range(num_samples)):
        prompt = given[number]
        events = generation.generate(
            loaded, prompt, max_new_tokens, replace(sampling, sample=sample), stop=stops, context_shift=context_shift
        )
        if as_json:
            place = {"sample": sample, "seed": sampling.seed}
            print_json_text(json.dumps(document(tokenizer, prompt, place, events, candidates), ensure_ascii=False))
            continue
        counts = (("prompt", number, len(given)), ("sample", sample, num_samples))
        heading = ", ".join(f"{what} {index + 1} of {count}" for what, index, count in counts if count > 1)
        if heading:
            click.echo(f"--- {heading} ---")
        if candidates:
            completion = b""
            for event in events:
                completion += event.data
                found = (f"({shown(token)}, {100 * share:.1f}%)" for token, share in likeliest(tokenizer, event, candidates))
                click.echo(f"{shown(tokenizer.token_bytes(event.token))}: [{', '.join(found)}]")
            write(prompt + completion)
        else:
            write(prompt)
            for event in events:
                write(event.data)
        click.echo()


def read_prompt(path: str) -> bytes:
    """The bytes of a file, or of standard input for `-`. Raises DataError."""
    from femto import data
    from femto.errors import DataError
    from femto.system import files

    if path == "-":
        return data.read_bytes(path, any_file=True)
    try:
        return files.read(path)
    except OSError as error:
        hint = "; `-` reads standard input" if error.errno == errno.EINVAL else ""
        raise DataError(f"{path}: cannot read the prompt: {error.strerror}{hint}") from error


def write(data: bytes) -> None:
    """Text to standard output: in its encoding, with bytes that are not UTF-8 as they are."""
    from femto.commands.shared.streams import is_utf8

    click.echo(data if is_utf8() else data.decode("utf-8", "surrogateescape"), nl=False)


def shown(token: bytes) -> str:
    """A token in quotes, on one line; as Python writes bytes where it is not UTF-8."""
    try:
        return repr(token.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(token)


def likeliest(tokenizer: "Tokenizer", generated: "Generated", count: int) -> list[tuple[bytes, float]]:
    """The tokens that the model took for the likeliest, with their probabilities."""
    best = (-generated.probabilities).argsort(kind="stable")[:count].tolist()
    return [(tokenizer.token_bytes(token), float(generated.probabilities[token])) for token in best]


def document(
    tokenizer: "Tokenizer", prompt: bytes, place: dict[str, Any], events: "Iterable[Generated]", candidates: int | None
) -> dict[str, Any]:
    """What --json prints of one text. place: which sample of which seed it is."""
    completion, tokens, reason = b"", [], "length"
    for event in events:
        completion += event.data
        reason = event.finish_reason or reason
        token = {"id": event.token, **text_field("token", tokenizer.token_bytes(event.token))}
        if candidates:
            found = likeliest(tokenizer, event, candidates)
            token["candidates"] = [{**text_field("token", each), "probability": share} for each, share in found]
        tokens.append(token)
    texts = {**text_field("prompt", prompt), **text_field("text", prompt + completion), **text_field("completion", completion)}
    return {**texts, **place, "finish_reason": reason, "tokens": tokens}


def text_field(name: str, data: bytes) -> dict[str, Any]:
    """The field of a text; where it is not UTF-8, U+FFFD is in it, and a second field has the bytes as numbers."""
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {name: data.decode("utf-8", "replace"), f"{name}_bytes": list(data)}
