"""`femto history`: the family tree of models."""

from typing import TYPE_CHECKING, Any

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.history_text import entry_line
from femto.commands.shared.options import json_option, print_json

if TYPE_CHECKING:
    from femto.analysis.lineage import Node


@command("Look into models", "draw the family tree of models", place=50)
@click.argument("models", nargs=-1, required=True, type=click.Path())
@json_option
def history(models: tuple[str, ...], as_json: bool) -> None:
    """Draw the family tree of MODELS: how each was made, trained and changed. Their histories alone tell it."""
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
