"""`femto cache`: the token files of large texts."""

import time
from typing import TYPE_CHECKING

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import json_option, option, print_json

if TYPE_CHECKING:
    from femto.token_cache import Entry


@command("Train and use models", "show or remove the token files of large texts", place=80)
@click.argument("texts", metavar="[TEXT]...", nargs=-1, type=click.Path())
@option("--remove", is_flag=True, help="Remove these token files. They are made again when the text is used.")
@option("--check", is_flag=True, help="Read these token files in full, and remove those that are damaged.")
@json_option
def cache(texts: tuple[str, ...], remove: bool, check: bool, as_json: bool) -> None:
    """Show the token files of the texts TEXT (files or folders), or all of them.

    A text of 16 MiB or more is encoded once. Its tokens are kept in a file, so that the next command starts at once. These files
    are in the folder that FEMTO_CACHE names, else in ~/.cache/femto. With FEMTO_CACHE=none, texts are encoded in memory.
    """
    from femto import token_cache, token_files
    from femto.errors import DataError
    from femto.system.text import amount, counted

    folder = token_cache.default_folder()
    if remove and check:
        raise click.UsageError("give --remove or --check, not both")
    if folder is None:
        raise DataError("there is no cache: FEMTO_CACHE is none, or there is no home")
    found = token_cache.entries(folder)
    if texts:
        wanted = {entry.path for text in texts for entry in token_cache.entries_of(folder, text)}
        found = [entry for entry in found if entry.path in wanted]
    removed = found if remove else []
    if check:
        removed = []
        for entry in found:
            try:
                token_files.verify(entry.path)
            except DataError:
                removed.append(entry)
    if removed or (remove and not texts):
        token_cache.remove(folder, removed if texts or check else None)
    if as_json:
        print_json({"folder": str(folder), "files": [as_document(entry, entry in removed) for entry in found]})
        return
    for entry in found:
        click.echo(f"{amount(entry.num_bytes):>10}  {described(entry)}{'; removed' if entry in removed else ''}")
    total = amount(sum(entry.num_bytes for entry in found))
    gone = "removed " if remove else ""
    click.echo(f"{folder}: {gone}{counted(len(found), 'token file')}, {total}")


def described(entry: "Entry") -> str:
    """What a token file is of, and when it was used."""
    from femto.system.text import printable

    if entry.facts is None:
        return f"{entry.path.name}: damaged"
    used = time.strftime("%Y-%m-%d", time.localtime(entry.used))
    texts = printable(", ".join(entry.facts.texts))
    return f"{texts}: {entry.facts.num_tokens:,} tokens ({printable(entry.facts.tokenizer)}); used {used}"


def as_document(entry: "Entry", removed: bool) -> dict[str, object]:
    """The same for JSON."""
    facts = entry.facts
    told = {} if facts is None else {"texts": facts.texts, "sha256": facts.sha256, "tokenizer": facts.tokenizer}
    counts = {} if facts is None else {"text_bytes": facts.num_bytes, "tokens": facts.num_tokens, "unknown": facts.num_unknown}
    return {
        "path": str(entry.path),
        "bytes": entry.num_bytes,
        "used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.used)),
        "damaged": facts is None,
        "removed": removed,
        **told,
        **counts,
    }
