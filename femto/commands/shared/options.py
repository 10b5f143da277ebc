"""Options: how they show in help, and those that several commands share."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from femto.commands.shared import field_names
from femto.config import PRESETS, ROLES

TOKENIZERS = ("ascii", "byte", "char", "bpe")

KINDS = {  # what stands for a value, by the names that click gives its types
    "integer": "INTEGER",
    "integer range": "INTEGER",
    "float": "NUMBER",
    "float range": "NUMBER",
    "path": "PATH",
    "text": "TEXT",
    "integer or auto": "INTEGER|auto",
    "float or auto": "NUMBER|auto",
}

NUMBERS = {"integer": "a whole number", "integer range": "a whole number", "float": "a number", "float range": "a number"}
NUMBERS |= {f"{name} or auto": f"auto or {NUMBERS[name]}" for name in ("integer", "float")}

Texts = tuple[str, ...]  # the paths of a text: one, or several

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


if TYPE_CHECKING:
    AnyType = click.ParamType[Any]
else:
    AnyType = click.ParamType  # not generic in every version of click


class OrAuto(AnyType):
    """A number, or `auto`, which says that femto derives it."""

    def __init__(self, number: Any, auto: str | None = None) -> None:
        """number: a type of numbers, as options have it. auto: what the command is given for `auto`; None: as if nothing was."""
        self.number, self.auto = click.types.convert_type(number), auto
        self.name = "float or auto" if self.number.name.startswith("float") else "integer or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.auto if value == "auto" else self.number.convert(value, param, ctx)


class Option(click.Option):
    """An option whose help tells possible values and default in words, and which may have old spellings that help leaves out.

    values: the possible values, in words, where the type does not tell them. default_text: the default, where the value does not
    tell it. old: an earlier spelling, which keeps working.
    """

    def __init__(self, *arguments: Any, values: str = "", default_text: str = "", old: str = "", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.values = values or in_words(self.type)
        self.default_text = default_text or ("" if self.is_flag else shown(attributes.get("default")))
        self.old = old

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        told = self.opts
        taken = [name for each in ctx.command.params for name in each.opts]
        self.opts = [*told, *([self.old] if self.old else ()), *field_names.hidden(told, taken)]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = told  # help, completion and messages know these alone

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().type_cast_value(ctx, value)
        except click.BadParameter as error:
            number = NUMBERS.get(self.type.name)
            if number is None:
                raise
            range_ = f", {self.values}" if self.values else ""
            raise click.BadParameter(f"must be {number}{range_}; got {value!r}", ctx, self) from error

    @property
    def kind(self) -> str:
        """What stands for the value: INTEGER, NUMBER, PATH, TEXT, the choices; nothing for a flag."""
        if self.is_flag:
            return ""
        if isinstance(self.type, click.Choice):
            return f"[{'|'.join(self.type.choices)}]"
        return KINDS[self.type.name]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        names = f"{', '.join(sorted(self.opts, key=len))} {self.kind}".rstrip()
        if self.secondary_opts:
            names = f"{names} / {', '.join(self.secondary_opts)}"
        default = f"default: {self.default_text}" if self.default_text else "required" if self.required else ""
        facts = "; ".join(filter(None, (self.values, default)))
        return names, f"{self.help} [{facts}]" if facts else self.help or ""


def shown(default: object) -> str:
    """The default of an option, as a person writes it."""
    if isinstance(default, float):
        return f"{default:g}"
    return f"{default:,}" if isinstance(default, int) else str(default or "")


def in_words(type_: object) -> str:
    """The range of a type of numbers: "0 or more", "above 0", "1 to 4,096"; nothing for other types."""
    if isinstance(type_, OrAuto):
        type_ = type_.number
    if not isinstance(type_, click.IntRange | click.FloatRange) or type_.min is None:
        return ""
    if type_.max is not None:
        return f"{type_.min:,} to {type_.max:,}"
    return f"above {type_.min:,}" if type_.min_open else f"{type_.min:,} or more"


def option(*declarations: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """`click.option` that makes an Option of femto's, with the attributes of either."""
    return click.option(*declarations, cls=Option, **attributes)


def by_role_option(declaration: str, field: str, default_text: str, help: str) -> Callable[[Decorated], Decorated]:
    """An option of ROLE=NUMBER that may be given once for each role: a dictionary, with None for ROLE=auto and ROLE= alone."""

    def parse(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for value in values:
            role, equals, number = value.partition("=")
            if role in found:
                raise click.BadParameter(f"{role!r} is given twice", ctx, parameter)
            try:
                found[role] = float(number) if number not in ("", "auto") else None
            except ValueError:
                equals = ""
            if not equals or "_" in number:
                raise click.BadParameter(f"expected ROLE=NUMBER, such as bias=0, got {value!r}", ctx, parameter)
        return found

    roles = f"ROLE=NUMBER, ROLE one of {', '.join(ROLES)}, NUMBER from 0 to 1000; once for each role; ROLE=auto takes it back"
    return option(declaration, field, multiple=True, callback=parse, values=roles, default_text=default_text, help=help)


def together(*options: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Several options as one decorator; help shows them in this order."""

    def decorate(command: Decorated) -> Decorated:
        for each in reversed(options):
            command = each(command)
        return command

    return decorate


def one_or_several(ctx: click.Context, parameter: click.Parameter, values: Texts) -> Texts | None:
    """What an option gives that names texts: their paths, or None."""
    if values.count("-") > 1:
        raise click.BadParameter("standard input can be read once: give - once")
    return values or None


def set_threads(ctx: click.Context, parameter: click.Parameter, value: int | Literal["auto"] | None) -> None:
    if value is not None:
        from femto import kernels

        kernels.set_num_threads(value)


model_option = option("--model", "-m", default="model.dat", type=click.Path(), help="The file of the model.")
FIRST_TEXT = "dataset.txt"  # the data set where nothing says another one


def texts_option(name: str, default_text: str, help: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """An option that names a text: a file, a folder, `-` or, given again, several of them."""
    return option(
        name,
        multiple=True,
        type=click.Path(allow_dash=True),
        callback=one_or_several,
        values="once for each, in this order",
        default_text=default_text,
        help=help,
        **attributes,
    )


_TEXT = "The text: a file, a folder whose files are all read, or - for standard input; or several of them."
dataset_option = texts_option("--dataset", FIRST_TEXT, _TEXT, default=(FIRST_TEXT,))
model_dataset_option = texts_option("--dataset", f"the last one of the model, at first {FIRST_TEXT}", _TEXT)
json_option = option("--json", "as_json", is_flag=True, help="Print the report as one JSON object instead of text.")
quiet_option = option("--quiet", is_flag=True, help="Show no progress while the command works. Notes are shown.")
force_option = option("--force", is_flag=True, help="Replace the output file if it exists.")
preset_option = option(
    "--preset",
    default="modern",
    type=click.Choice(tuple(PRESETS)),
    help="The set of defaults for the architecture and for training; reference is what the original program computes.",
)
tokenizer_option = option(
    "--tokenizer",
    default="ascii",
    type=click.Choice(TOKENIZERS),
    help="The kind of tokenizer: the characters of ASCII, all bytes, the characters of a text, or a vocabulary learnt by byte "
    "pair encoding.",
)
tokenizer_data_option = option("--tokenizer-data", default="tokenizer.json", type=click.Path(), help="The file of the tokenizer.")
case_option = option(
    "--case-sensitive/--case-insensitive",
    default=None,
    default_text="case-sensitive",
    help="Tell upper case from lower case. Case-insensitive turns all text into lower case.",
)
keep_options = together(
    option(
        "--keep",
        multiple=True,
        default_text="none",
        values="may be given several times",
        help="A token that is always found whole and never a part of another, such as '<|endoftext|>'.",
    ),
    option(
        "--document-separator",
        default_text="nothing",
        help="The token that stands between the files of a folder whenever this vocabulary encodes one. It is kept, too.",
    ),
)
context_option = option(
    "--num-tokens", default=80, values="1 to 65,536", help="The context: how many tokens the model looks at (T)."
)
threads_option = option(
    "--threads",
    type=OrAuto(click.IntRange(1, 4096), "auto"),
    callback=set_threads,
    expose_value=False,
    default_text="FEMTO_THREADS or OMP_NUM_THREADS, else the number of physical cores",
    help="How many threads compute. Results do not depend on it. Without it, fewer are used while other programs keep the cores "
    "busy and fewer are faster.",
)
# The shape of a model, for `init` and `bench`.
shape_options = together(
    context_option,
    option("--embedding-degree", default=80, values="1 to 65,536", help="The width of the model (d), a multiple of --num-heads."),
    option("--num-layers", default=4, values="1 to 4,096", help="The number of layers (L)."),
    option("--num-heads", default=4, values="1 to 65,536", help="The number of attention heads in every layer (H)."),
)


def model_or_tokenizer_option(default: str) -> Callable[[Decorated], Decorated]:
    return option("--model", "-m", default=default, type=click.Path(), help="The file of a model or of a tokenizer.")


def argument_bytes(argument: str) -> bytes:
    """A text of the command line as UTF-8. Bytes that Python could not decode there stay as they are."""
    return argument.encode("utf-8", "surrogateescape")


parts_option = option(
    "--parts",
    type=OrAuto(int, "auto"),
    values="1, 2, 4 … 64, and a divisor of the batch size",
    default_text="auto; a model that was made before there were parts has 1",
    help="Into how many parts a batch is cut. Threads compute whole parts, each with a gradient of its own. So more parts serve "
    "more threads and take more memory. auto takes up to 8, by the shapes of model and batch. Results depend on it in their last "
    "digits.",
)


def print_json(document: object) -> None:
    from femto.system.text import finite

    print_json_text(json.dumps(finite(document), ensure_ascii=False, indent=2))


def print_json_text(text: str) -> None:
    """Print JSON that is JSON wherever it goes: outside UTF-8 all that is not ASCII is escaped, in UTF-8 lone surrogates are."""
    from femto.commands.shared.streams import is_utf8
    from femto.system.text import json_escaped

    click.echo(json_escaped(text, "\ud800-\udfff" if is_utf8() else "\x80-\U0010ffff"))
