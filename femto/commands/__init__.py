"""The command line: every command parses, calls the library and prints. Errors are one line and exit status 1, usage 2."""

import sys
from typing import Any

import click

from femto.errors import FemtoError


class Group(click.Group):
    """A group that turns femto's errors into one line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FemtoError as error:
            raise click.ClickException(" ".join(str(error).split("\n"))) from error
        except MemoryError as error:
            detail = f": {error}" if str(error) else ""
            raise click.ClickException(f"out of memory{detail}; a smaller --batch-size or model needs less") from error
        except BrokenPipeError:
            sys.stderr.close()  # whoever read our output has gone: nothing to say to anybody
            raise SystemExit(1) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="femto", message="femto %(version)s")
def main() -> None:
    """Train, inspect and run small GPT language models on CPU cores.

    A first look: `femto demo`. Then: `femto init`, `femto train`, `femto infer`.
    """


from femto.commands import bench, demo, infer, initialize, inspect, train  # noqa: E402  (they need `main`)

__all__ = ["bench", "demo", "infer", "initialize", "inspect", "main", "train"]
