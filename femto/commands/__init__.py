"""The command line: every command parses, calls the library and prints. Errors are one line and exit status 1, usage 2."""

import re
import sys
from typing import Any

import click

from femto.errors import ConfigError, FemtoError


class WrongSetting(click.ClickException):
    """An option whose value only the library could judge: a usage error."""

    exit_code = 2


SECTIONS = {  # of `femto --help`: every command once, in a few words
    "Train and use models": {
        "demo": "the main job on data of its own, in about a minute",
        "init": "a new model",
        "train": "train a model on a text, from where it stopped",
        "infer": "continue a prompt",
        "evaluate": "the loss on a text, in nats a token and bits a byte",
        "bench": "how fast this machine trains and generates",
    },
    "Experiments": {
        "experiment": "the 43 experiments of the journal, or a recipe of your own",
        "search": "the best of a population of models that grow",
    },
    "Look into models": {
        "info": "shape, memory, settings, history",
        "loss": "the last training losses",
        "diagnose": "why a model is stuck",
        "compare": "how two models are related, and what differs",
        "history": "the family tree of models",
        "chunks": "the passages that a model knows best and worst",
        "cluster-tokens": "tokens whose embeddings are alike",
    },
    "Grow and convert models": {
        "insert-layer": "a deeper model that says the same",
        "insert-head": "a wider model that says the same",
        "extend-context": "a model with a longer context",
        "init-with": "the layers of a model for another vocabulary",
        "reset-optimizer": "drop the optimiser's state",
        "import": "a model of the original program",
    },
    "Vocabularies": {
        "train-bpe": "learn a vocabulary from a text",
        "count-tokens": "how often each token is used in a text",
        "dump-tokenizer": "the tokenizer of a model as JSON",
        "rename-token": "turn a reserved token into a real one",
    },
}


class Group(click.Group):
    """A group that turns femto's errors into one line on standard error: status 1, or 2 for a setting out of range."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, help) for name, help in commands.items()], col_max=20)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            message = FIELD.sub(lambda name: "--" + name[0].replace("_", "-"), str(error), count=1)
            raise WrongSetting(message) from error
        except FemtoError as error:
            raise click.ClickException(" ".join(str(error).split("\n"))) from error
        except RecursionError as error:
            raise click.ClickException("a history or a tree of models is nested too deeply to be shown") from error
        except MemoryError as error:
            detail = f": {error}" if str(error) else ""
            raise click.ClickException(f"out of memory{detail}; a smaller model or batch needs less") from error
        except KeyboardInterrupt:
            click.echo("Error: interrupted at once; what was not saved is lost", err=True)
            raise SystemExit(130) from None
        except BrokenPipeError:
            sys.stderr.close()  # whoever read our output has gone: nothing to say to anybody
            raise SystemExit(1) from None
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'cannot write the output'}: {error.strerror}") from error


FIELD = re.compile(r"^[a-z]+(_[a-z0-9]+)*(?= must)|^embedding_degree")  # what a ConfigError begins with: an option's name


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="femto", message="femto %(version)s")
def main() -> None:
    """Train, inspect and run small GPT language models on CPU cores.

    A first look: `femto demo`. Then: `femto init`, `femto train`, `femto infer`.
    """


from femto.commands import (  # noqa: E402  (they need `main`)
    bench,
    compare,
    demo,
    diagnose,
    experiment,
    grow,
    import_model,
    infer,
    initialize,
    inspect,
    passages,
    search,
    tokens,
    train,
)

__all__ = [
    "bench",
    "compare",
    "demo",
    "diagnose",
    "experiment",
    "grow",
    "import_model",
    "infer",
    "initialize",
    "inspect",
    "main",
    "passages",
    "search",
    "tokens",
    "train",
]
