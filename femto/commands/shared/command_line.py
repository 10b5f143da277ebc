"""`femto` itself: how a command is declared and listed, and what an error becomes.

A new command is a new file in the folder above, which need not be named anywhere else::

    @command("Look into models", "count the parameters of a model", place=15)
    @model_option
    def count_parameters(model: str) -> None:
        '''Print how many parameters a model has.'''
"""

import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from femto.commands.shared import field_names
from femto.errors import ConfigError, FemtoError
from femto.system.signals import EndedBySignal, InterruptedAtOnce

SECTIONS = (  # of `femto --help`, in this order
    "Train and use models",
    "Experiments",
    "Look into models",
    "Grow and convert models",
    "Vocabularies",
)

EXIT_STATUSES: dict[int | str, str] = {  # of every command
    0: "The command has done what was asked.",
    1: "An error: one line on standard error says what is wrong, where, and what to do.",
    2: "A usage error: a command, an option or a value is not possible.",
    "128 + N": "The process ended by signal N, as shells show it: 130 is Ctrl-C (SIGINT), 143 SIGTERM, 129 SIGHUP, 138 and 140 "
    "SIGUSR1 and SIGUSR2, 152 SIGXCPU (numbers of Linux). What trains has saved before, unless a second Ctrl-C ended it at "
    "once. 141 (SIGPIPE): whoever read the report has gone.",
}

LAST = 1000  # place of a command that asks for none

AnyCommand = TypeVar("AnyCommand", bound=click.Command)


class WrongSetting(click.ClickException):
    """An option whose value only the library could judge: a usage error."""

    exit_code = 2


class Command(click.Command):
    """A command that may have exit statuses of its own."""

    def __init__(self, *arguments: Any, statuses: Mapping[int, str] | None = None, **attributes: Any) -> None:
        """statuses: what exit statuses mean that EXIT_STATUSES does not have."""
        super().__init__(*arguments, **attributes)
        self.statuses = dict(statuses or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            here = [name for parameter in self.params if isinstance(parameter, click.Option) for name in parameter.opts]
            advice = field_names.advice(error.option_name, here, options_of(main, "femto"))
            raise click.UsageError(f"no option {error.option_name}" + (f"; {advice}" if advice else ""), ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise WrongSetting(self.in_options_words(error)) from error

    def in_options_words(self, error: ConfigError) -> str:
        """The message, with the option in place of the field that it begins with, if this command has such an option."""
        message = str(error)
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.name == error.field and message.startswith(error.field):
                return max(parameter.opts, key=len) + message[len(error.field) :]
        return message

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.statuses:
            with formatter.section("Exit status"):
                formatter.write_dl([(str(status), meaning) for status, meaning in self.statuses.items()])
        super().format_epilog(ctx, formatter)


class Subcommands(click.Group):
    """A command that has commands."""

    command_class = Command


class CommandLine(click.Group):
    """Lists commands in sections, and turns errors into one line on standard error: status 1, or 2 for a wrong setting."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.places: dict[str, tuple[str, int]] = {}  # section of each command, and its place there

    def add(self, added: AnyCommand, section: str, place: int) -> AnyCommand:
        if section not in SECTIONS:
            raise ValueError(f"command {added.name}: no section {section!r}; there are {', '.join(SECTIONS)}")
        self.add_command(added)
        self.places[str(added.name)] = section, place
        return added

    def in_section(self, section: str) -> list[click.Command]:
        """The commands of a section, in the order of their places, those of the same place by name."""
        placed = sorted((place, name) for name, (of, place) in self.places.items() if of == section)
        return [self.commands[name] for _, name in placed]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, field_names.COMMANDS.get(cmd_name, cmd_name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [str(command.name) for section in SECTIONS for command in self.in_section(section)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in SECTIONS:
            with formatter.section(section):
                formatter.write_dl([(str(each.name), each.get_short_help_str()) for each in self.in_section(section)], col_max=20)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:  # of no command's options: an environment variable, say
            raise WrongSetting(str(error)) from error
        except FemtoError as error:
            raise click.ClickException(" ".join(str(error).split("\n"))) from error
        except RecursionError as error:
            raise click.ClickException("a history or a tree of models is nested too deeply to be shown") from error
        except MemoryError as error:
            detail = f": {error}" if str(error) else ""
            raise click.ClickException(f"out of memory{detail}; a smaller model or batch needs less") from error
        except (KeyboardInterrupt, click.Abort) as error:
            if isinstance(error, click.Abort) and not isinstance(error.__context__, KeyboardInterrupt):
                raise  # a question that nobody answers
            what = "interrupted at once; what was not saved is lost" if isinstance(error, InterruptedAtOnce) else "interrupted"
            click.echo("\n" * sys.stderr.isatty() + what, err=True)  # a terminal has shown ^C
            raise EndedBySignal(signal.SIGINT) from None
        except BrokenPipeError:  # whoever read the report has gone: nothing to say to anybody
            raise EndedBySignal(signal.SIGPIPE) from None
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'cannot write the output'}: {error.strerror}") from error


def options_of(command: click.Command, typed: str) -> dict[str, list[str]]:
    """The options of a command and of all commands below it, by what is typed to run them, in the order of help."""
    if isinstance(command, click.Group):
        names = command.list_commands(click.Context(command))
        return {words: found for name in names for words, found in options_of(command.commands[name], f"{typed} {name}").items()}
    return {typed: [name for parameter in command.params for name in parameter.opts]}


SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "token_normalize_func": lambda name: name.replace("_", "-"),  # --batch_size, as many programs have it
}


@click.group(cls=CommandLine, context_settings=SETTINGS)
@click.version_option(package_name="femto", message="femto %(version)s")
def main() -> None:
    """Train, inspect and run small GPT language models on CPU cores.

    A first look: `femto demo`. Then: `femto init`, `femto train`, `femto infer`.
    """


def command(section: str, summary: str, *, name: str | None = None, place: int = LAST) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command of `femto`.

    section: one of SECTIONS, under which `femto --help` lists it. summary: a few words for that list. name: of the command, if it
    is not the function's. place: in its section of the list; those with smaller numbers come before it.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        return main.add(click.command(name, cls=Command, short_help=summary)(function), section, place)

    return decorate


def group(section: str, summary: str, *, place: int = LAST) -> Callable[[Callable[..., Any]], Subcommands]:
    """Make a function a command that has commands. The arguments are those of `command`."""

    def decorate(function: Callable[..., Any]) -> Subcommands:
        return main.add(click.group(cls=Subcommands, short_help=summary)(function), section, place)

    return decorate
