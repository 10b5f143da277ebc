"""`femto compare` and `femto history`: what models have in common."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from femto.commands import main
from femto.commands.inspect import entry_line
from femto.commands.options import json_option, print_json

if TYPE_CHECKING:
    from femto.analysis.lineage import Event, Node, Relation

NAMED = 6  # tensors that only one model has


@main.command()
@click.argument("first", type=click.Path())
@click.argument("second", type=click.Path())
@click.option("--limit", default=10, show_default=True, type=click.IntRange(0), help="Tensors, and tokens, to show.")
@click.option("--reverse", is_flag=True, help="Those that changed least.")
@json_option
def compare(first: str, second: str, limit: int, reverse: bool, as_json: bool) -> None:
    """Tell how two models are related, and what in them differs most.

    Cosines of tensors, then of the embedding of each token, head by head, from the most to the least changed.
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


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path())
@json_option
def history(models: tuple[str, ...], as_json: bool) -> None:
    """Draw the tree of models from their histories alone."""
    from femto import checkpoint
    from femto.analysis.lineage import tree

    found = tree({path: checkpoint.load(path, optimizer=False).history for path in models})
    if as_json:
        print_json([document(node) for node in found])
        return
    for node in found:
        for line in drawn(node):
            click.echo(line)


def document(node: "Node") -> dict[str, Any]:
    events = [
        {
            "entry": dict(event.entry),
            "first_step": event.first_step,
            "steps": event.steps,
            "last_loss": float(event.losses[-1]) if len(event.losses) else None,
        }
        for event in node.events
    ]
    return {"events": events, "models": node.models, "children": [document(child) for child in node.children]}


def drawn(node: "Node") -> list[str]:
    """Lines of text: what follows without a branch stands below, branches are indented."""
    lines = [f"{event.entry['time']}  {entry_line(event)}" for event in node.events]
    lines += [f"= {model}" for model in node.models]
    for place, child in enumerate(node.children):
        last = place == len(node.children) - 1
        head, *rest = drawn(child)
        lines.append(("└── " if last else "├── ") + head)
        lines += [("    " if last else "│   ") + line for line in rest]
    return lines
