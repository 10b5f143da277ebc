"""`python -m femto` and the `femto` script."""


def run() -> None:
    """The command line; Ctrl-C while it is still loading ends it quietly."""
    try:
        from femto.commands import main
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    main(prog_name="femto")


if __name__ == "__main__":
    run()
