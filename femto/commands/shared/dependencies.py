"""Options that do nothing without another one, or with it: refused, with the name of the other."""

import click


def given(ctx: click.Context, *names: str) -> list[str]:
    """Those of the parameters that the command line has, as options: `--keep-best`."""
    options = {str(option.name): max(option.opts, key=len) for option in ctx.command.params}
    return [options[name] for name in names if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE]


def refuse(ctx: click.Context, *names: str, reason: str) -> None:
    """Raise a usage error if the command line has any of these parameters: they "would do nothing", and then the reason."""
    if found := given(ctx, *names):
        raise click.UsageError(nothing(found, reason))


def nothing(options: list[str], reason: str) -> str:
    """That options would do nothing, and why."""
    return f"{' and '.join(options)} would do nothing{'' if reason.startswith(':') else ' '}{reason}"
