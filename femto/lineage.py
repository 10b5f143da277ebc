"""Ancestry from histories alone: where two models part, and the tree of many.

Every entry of a history has an id of its own, and a step is named by its session's id and its number. So two models share what
their histories share from the beginning on: an entry with the same id, or as many steps of the same session as both did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femto.history import History


@dataclass(frozen=True)
class Event:
    """An entry of a history, or a part of a training session."""

    entry: Mapping[str, Any]
    first_step: int = 0  # of this part, counted from the start of the model's life
    losses: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))  # of its steps, nats a token

    @property
    def steps(self) -> int:
        return len(self.losses)

    def divided(self, steps: int) -> tuple["Event", "Event"]:
        """Its first steps, and the others."""
        rest = replace(self, first_step=self.first_step + steps, losses=self.losses[steps:])
        return replace(self, losses=self.losses[:steps]), rest


@dataclass(frozen=True)
class Relation:
    """What two models have in common, and what each did since."""

    common: list[Event]
    first: list[Event]
    second: list[Event]

    @property
    def kind(self) -> str:
        """same, parent (the first is the second's), child, siblings or unrelated."""
        if not self.common:
            return "unrelated"
        if not self.first:
            return "parent" if self.second else "same"
        return "siblings" if self.second else "child"


@dataclass(frozen=True)
class Node:
    """A part of a tree: one event, the models that end with it, and what came after in others."""

    event: Event
    models: list[str]
    children: list["Node"]


def events(history: History) -> list[Event]:
    """A history as events, in order."""
    found = []
    for entry in history.entries:
        if entry["kind"] == "session":
            first = entry["first_step"]
            found.append(Event(entry, first, history.losses[first : first + entry["steps"]]))
        else:
            found.append(Event(entry))
    return found


def number_of_steps(of: Sequence[Event]) -> int:
    return sum(event.steps for event in of)


def relation(first: History, second: History) -> Relation:
    """Where two histories part."""
    ours, theirs = with_parent(first, [second]), with_parent(second, [first])
    common: list[Event] = []
    while ours and theirs and ours[0].entry["id"] == theirs[0].entry["id"]:
        steps = min(ours[0].steps, theirs[0].steps)
        shared, our_rest = ours[0].divided(steps)
        _, their_rest = theirs[0].divided(steps)
        common.append(shared)
        ours = ([our_rest] if our_rest.steps else []) + ours[1:]
        theirs = ([their_rest] if their_rest.steps else []) + theirs[1:]
        if our_rest.steps or their_rest.steps:
            break
    return Relation(common, ours, theirs)


def with_parent(history: History, others: Sequence[History]) -> list[Event]:
    """The events of a history; those of a model made by init-with after those of its parent, if that is among the others."""
    own = events(history)
    first = own[0].entry
    if first["kind"] != "init-with":
        return own
    for other in others:
        before: list[Event] = []
        for event in events(other) if other is not history else []:
            before.append(event)
            if event.entry["id"] == first.get("parent"):
                excess = number_of_steps(before) - first.get("parent_steps", 0)
                if 0 <= excess <= event.steps:
                    before[-1], _ = event.divided(event.steps - excess)
                    return before + own
    return own


def tree(histories: Mapping[str, History]) -> list[Node]:
    """The trees of models by name: one where all have a common ancestor."""
    return _nodes({name: with_parent(history, list(histories.values())) for name, history in histories.items()})


def _nodes(paths: Mapping[str, list[Event]]) -> list[Node]:
    groups: dict[str, dict[str, list[Event]]] = {}
    for name, path in paths.items():
        groups.setdefault(path[0].entry["id"], {})[name] = path
    nodes = []
    for group in groups.values():
        steps = min(path[0].steps for path in group.values())
        ended, going_on = [], {}
        for name, path in group.items():
            shared, rest = path[0].divided(steps)
            after = ([rest] if rest.steps else []) + path[1:]
            if after:
                going_on[name] = after
            else:
                ended.append(name)
        nodes.append(Node(shared, ended, _nodes(going_on)))
    return nodes
