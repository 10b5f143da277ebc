"""`femto compare`: what two models have in common."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.history_text import entry_line
from femto.commands.shared.options import json_option, option, print_json

if TYPE_CHECKING:
    from femto.analysis.lineage import Event, Relation

NAMED = 6  # tensors that only one model has


@command("Look into models", "tell how two models are related, and what differs", place=40)
@click.argument("first", type=click.Path())
@click.argument("second", type=click.Path())
@option("--limit", default=10, type=click.IntRange(0), help="How many tensors, and how many tokens, to show.")
@option("--reverse", is_flag=True, help="Show those that differ least.")
@json_option
def compare(first: str, second: str, limit: int, reverse: bool, as_json: bool) -> None:
    """Tell how the models FIRST and SECOND are related, and what in them differs most.

    After the relation come cosines: of tensors, then of the embedding of each token, head by head. 1 means the same direction.
    What differs most comes first.
    """
    from femto import checkpoint
    from femto.analysis.compare import compare as compare_models

    ours, theirs = (checkpoint.load(path, optimizer=False) for path in (first, second))
    found = compare_models(ours, theirs)
    # Rounded, so that what differs only by rounding errors comes in the order of names.
    sign = -1.0 if reverse else 1.0
    tensors = sorted(found.tensors, key=lambda tensor: (sign * round(tensor.cosine, 9), tensor.name))[:limit]
    tokens = sorted(found.tokens, key=lambda token: (sign * round(token.cosine, 9), token.token_id, token.head))[:limit]
    names = ours.tokenizer.readable_tokens()
    if as_json:
        print_json(
            {
                "first": first,
                "second": second,
                "relation": found.relation.kind,
                "common_steps": steps(found.relation.common),
                "steps_since": {"first": steps(found.relation.first), "second": steps(found.relation.second)},
                "changes_since": {"first": changes(found.relation.first), "second": changes(found.relation.second)},
                "tensors": [
                    {"first": tensor.name, "second": tensor.second_name, "cosine": tensor.cosine, "shape": tensor.shape}
                    for tensor in tensors
                ],
                "tokens": [
                    {"token_id": token.token_id, "token": names[token.token_id], "head": token.head, "cosine": token.cosine}
                    for token in tokens
                ],
                "only_first": found.only_first,
                "only_second": found.only_second,
            }
        )
        return
    for line in relation_lines(found.relation, first, second):
        click.echo(line)
    for tensor in tensors:
        name = tensor.name if tensor.name == tensor.second_name else f"{tensor.name} ({tensor.second_name} of the second)"
        whole = ours.model.tensors[tensor.name].shape == tensor.shape == theirs.model.tensors[tensor.second_name].shape
        part = "" if whole else f", of the first {' x '.join(map(str, tensor.shape))}"
        click.echo(f"key: {name}, cosine: {tensor.cosine:.6f}{part}")
    for token in tokens:
        shown = json.dumps(names[token.token_id], ensure_ascii=False)
        click.echo(f"token_id: {token.token_id}, token: {shown}, head: {token.head}, cosine: {token.cosine:.6f}")
    if not found.tokens:
        click.echo("The token embeddings cannot be compared: the tokens, or the sizes of heads, are not the same.")
    for path, only in ((first, found.only_first), (second, found.only_second)):
        if only:
            more = f" and {len(only) - NAMED} more (--json has all)" if len(only) > NAMED else ""
            click.echo(f"Only in {path}: {', '.join(only[:NAMED])}{more}")


def relation_lines(found: "Relation", first: str, second: str) -> list[str]:
    """The relation of two models in the words of the journal."""
    lines = []
    if found.kind == "unrelated":
        made = [since[0].entry for since in (found.first, found.second)]
        if all(entry["kind"] == "init-with" for entry in made) and made[0].get("parent") == made[1].get("parent"):
            lines.append(f"{first} and {second} were both made by init-with from the same model.")
        else:
            lines.append(f"{first} and {second} have no common ancestor.")
    elif found.kind == "same":
        lines.append(f"{first} and {second} have gone through the same training session. There's nothing to compare.")
        lines.append(f"The parent has been trained for {steps(found.common)} steps.")
    elif found.kind == "siblings":
        lines.append(f"{first} and {second} have the same parent.")
        for path, since in ((first, found.first), (second, found.second)):
            lines.append(f"{path} is {steps(since)}-steps further trained version of the parent.")
    else:
        parent, child, since = (first, second, found.second) if found.kind == "parent" else (second, first, found.first)
        lines.append(f"{parent} is parent of {child}.")
        lines.append(f"{child} is {steps(since)}-steps further trained version of {parent}")
    for path, since in ((first, found.first), (second, found.second)):
        if found.common and (changed := changes(since)):
            lines.append(f"{path} has also gone through: {'; '.join(changed)}.")
    return lines


def steps(events: "Sequence[Event]") -> int:
    from femto.analysis.lineage import number_of_steps

    return number_of_steps(events)


def changes(events: "Sequence[Event]") -> list[str]:
    """What was done beside training."""
    return [entry_line(event) for event in events if event.entry["kind"] != "session"]
