"""`femto import`: a model of the original program becomes one of femto's."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import force_option, json_option, print_json
from femto.system.text import counted


@command("Grow and convert models", "convert a model of the original program", name="import", place=60)
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@force_option
@json_option
def import_model(old: str, new: str, force: bool, as_json: bool) -> None:
    """Read OLD, a model file (.dat) of the original program, and write it as the femto model NEW.

    Tokenizer, parameters, optimiser state and history are kept. So training goes on where it stopped, with the settings of the
    preset reference.
    """
    from femto import checkpoint, config
    from femto.checkpoint.original_program import load_original_model

    checkpoint.check_target(new, replace=force)
    loaded = load_original_model(old)
    with checkpoint.locked(new):
        checkpoint.save(loaded, new)
    shape, steps = loaded.model.config, loaded.history.num_steps
    if as_json:
        print_json(
            {
                "model": new,
                "imported": old,
                "num_parameters": shape.num_parameters,
                "num_steps": steps,
                "optimizer_step": loaded.optimizer.step if loaded.optimizer else None,
                "config": config.to_json(shape),
            }
        )
        return
    trained = counted(steps, "step")
    click.echo(f"{new}: {shape.num_parameters:,} parameters, {shape.vocab_size} tokens, {trained}; imported from {old}")
