"""Ancestry from histories alone: where two models part, and the tree of many.

Every entry of a history has an id of its own, and a step is named by its session's id and its number. So two models share what
their histories share from the beginning on: an entry with the same id, or as many steps of the same session as both did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femto.checkpoint.history import History
from femto.system.text import described


@dataclass(frozen=True)
class Event:
    """An entry of a history, or a part of a training session."""

    entry: Mapping[str, Any]
    first_step: int = 0  # of this part, counted from the start of the model's life
    steps: int = 0  # of this part
    losses: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))  # of the last of them, nats a token

    def __repr__(self) -> str:
        return described(self, self.entry["kind"], first_step=self.first_step, steps=self.steps)

    def divided(self, steps: int) -> tuple["Event", "Event"]:
        """Its first steps, and the others."""
        cut = max(0, steps - (self.steps - len(self.losses)))
        rest = replace(self, first_step=self.first_step + steps, steps=self.steps - steps, losses=self.losses[cut:])
        return replace(self, steps=steps, losses=self.losses[:cut]), rest


@dataclass(frozen=True)
class Relation:
    """What two models have in common, and what each did since."""

    common: list[Event]
    first: list[Event]
    second: list[Event]

    def __repr__(self) -> str:
        return described(self, self.kind, common=len(self.common), first=len(self.first), second=len(self.second))

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
    """A part of a tree: events that the same models share, the models that end there, and what came after in others."""

    events: list[Event]  # up to where a model ends, or where models part
    models: list[str]
    children: list["Node"]

    def __repr__(self) -> str:
        return described(self, events=len(self.events), models=self.models, children=len(self.children))


def events(history: History) -> list[Event]:
    """A history as events, in order."""
    found = []
    for entry in history.entries:
        if entry["kind"] == "session":
            first, steps = entry["first_step"], entry["steps"]
            found.append(Event(entry, first, steps, history.losses_of(first, steps)))
        else:
            found.append(Event(entry))
    return found


def number_of_steps(of: Sequence[Event]) -> int:
    return sum(event.steps for event in of)


def relation(first: History, second: History) -> Relation:
    """Where two histories part."""
    ours, theirs = with_parent(first, [second])[::-1], with_parent(second, [first])[::-1]  # the first event last
    common: list[Event] = []
    while ours and theirs and ours[-1].entry["id"] == theirs[-1].entry["id"]:
        parted = ours[-1].steps != theirs[-1].steps
        common.append(_shared_event([ours, theirs]))
        if parted:
            break
    return Relation(common, ours[::-1], theirs[::-1])


def _shared_event(paths: Sequence[list[Event]]) -> Event:
    """Take from the end of each path what all have of their last event; what some have more of it stays there."""
    steps = min(path[-1].steps for path in paths)
    for path in paths:
        shared, rest = path.pop().divided(steps)
        if rest.steps:
            path.append(rest)
    return shared


def with_parent(history: History, others: Sequence[History]) -> list[Event]:
    """The events of a history; if a model was made by init-with, after those of its parent, and so on, if among the others."""
    found, unused = events(history), [other for other in others if other is not history]
    while found[0].entry["kind"] == "init-with":
        for other in unused:
            before = _before(found[0].entry, events(other))
            if before:
                found = before + found
                unused.remove(other)
                break
        else:
            break
    return found


def _before(made: Mapping[str, Any], of_parent: list[Event]) -> list[Event]:
    """The events up to where init-with made a model, by its entry; none if it was not made from there."""
    excess = -made["parent_steps"]
    for index, event in enumerate(of_parent):
        excess += event.steps
        if event.entry["id"] == made.get("parent") and 0 <= excess <= event.steps:
            return [*of_parent[:index], event.divided(event.steps - excess)[0]]
    return []


def tree(histories: Mapping[str, History]) -> list[Node]:
    """The trees of models by name: one where all have a common ancestor."""
    return _nodes({name: with_parent(history, list(histories.values()))[::-1] for name, history in histories.items()})


def _nodes(paths: Mapping[str, list[Event]]) -> list[Node]:
    """paths: the events of each model, the first last; they are consumed."""
    nodes = []
    for group in _by_next(paths):
        shared, going_on = [], [group]
        while len(going_on) == 1 and len(going_on[0]) == len(group):
            shared.append(_shared_event(list(group.values())))
            going_on = _by_next({name: path for name, path in group.items() if path})
        children = {name: path for part in going_on for name, path in part.items()}
        nodes.append(Node(shared, [name for name in group if name not in children], _nodes(children)))
    return nodes


def _by_next(paths: Mapping[str, list[Event]]) -> list[dict[str, list[Event]]]:
    groups: dict[str, dict[str, list[Event]]] = {}
    for name, path in paths.items():
        groups.setdefault(path[-1].entry["id"], {})[name] = path
    return list(groups.values())
