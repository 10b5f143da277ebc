"""`python -m femto` is the `femto` command."""

from femto.commands import main

main(prog_name="femto")
