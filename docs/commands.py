"""Writes docs/commands.md from the definitions of the commands: python docs/commands.py > docs/commands.md"""

import inspect
import re
from collections.abc import Iterator

import click

from femto.commands import main
from femto.commands.shared.command_line import EXIT_STATUSES, SECTIONS
from femto.commands.shared.field_names import COMMANDS, OPTIONS
from femto.commands.shared.options import Option

HEAD = """# Commands

Every command of femto, with all its options. This page is made from the definitions of the commands (`python docs/commands.py >
docs/commands.md`) and is not edited by hand. `femto COMMAND --help` tells the same.

Every command also has `-h` and `--help`, which show its help. `femto --version` shows the version.
"""
NAMES_OF_THE_FIELD = "What other programs call an option is understood too, with `-` or `_`. Help does not show it."
KINDS = {"INTEGER": "a whole number", "NUMBER": "a number", "PATH": "a path", "TEXT": "a text"}
KINDS |= {f"{kind}|auto": f"`auto` or {KINDS[kind]}" for kind in ("INTEGER", "NUMBER")}


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all commands below it, each with all that is typed to run it."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.commands[name], f"{path} {name}")


def options(command: click.Command) -> list[Option]:
    return [parameter for parameter in command.params if isinstance(parameter, Option)]


def cell(text: str) -> str:
    """Tokens such as <unk> become code: Markdown would take them for HTML."""
    return re.sub(r"<[a-z]+>", r"`\g<0>`", text).replace("|", r"\|")


def table(*rows: tuple[str, ...]) -> list[str]:
    """The first row is the head."""
    lines = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:], ""]


def row(option: Option) -> tuple[str, ...]:
    """Option, meaning, values, default."""
    names = ", ".join(f"`{name}`" for name in [*sorted(option.opts, key=len), *option.secondary_opts])
    if isinstance(option.type, click.Choice):
        values = ", ".join(f"`{choice}`" for choice in option.type.choices)
    else:
        values = ", ".join(filter(None, (KINDS.get(option.kind, ""), option.values)))
    return names, str(option.help), values, "required" if option.required else option.default_text


def section(path: str, command: click.Command) -> list[str]:
    """What is told of one command."""
    usage = " ".join([path, *command.collect_usage_pieces(click.Context(command))])
    depth = "#" * (2 + len(path.split()) - 1)
    lines = [f"{depth} {path}", "", "```", usage, "```", "", inspect.cleandoc(str(command.help)), ""]
    if found := options(command):
        lines += table(("option", "what it does", "values", "default"), *map(row, found))
    if statuses := getattr(command, "statuses", None):
        lines += table(("exit status", "meaning"), *((str(status), meaning) for status, meaning in statuses.items()))
    return lines


def page() -> str:
    lines = [HEAD]
    for title in SECTIONS:
        named = ((f"[{each.name}](#femto-{each.name})", each.get_short_help_str()) for each in main.in_section(title))
        lines += table((title, ""), *named)
    lines += ["## Exit statuses", ""]
    lines += table(("exit status", "meaning"), *((str(status), meaning) for status, meaning in EXIT_STATUSES.items()))
    lines += ["A command that has more of them, or other ones, tells them below.", ""]
    old = [("command", "old spelling", "now")]
    for title in SECTIONS:
        lines += [f"## {title}", ""]
        for each in main.in_section(title):
            for path, command in commands(each, f"femto {each.name}"):
                lines += section(path, command)
                old += [(f"`{path}`", f"`{option.old}`", f"`{option.opts[0]}`") for option in options(command) if option.old]
    lines += ["## Old spellings", "", "They keep working; help and shell completion do not show them.", "", *table(*old)]
    lines += ["## Names of the field", "", NAMES_OF_THE_FIELD, ""]
    lines += table(("option", "also"), *((f"`{name}`", ", ".join(map("`{}`".format, also))) for name, also in OPTIONS.items()))
    commands_too = ", ".join(f"`{name}` is `{command}`" for name, command in COMMANDS.items())
    lines += [f"So are commands: {commands_too}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    click.echo(page(), nl=False)
