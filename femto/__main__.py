"""`python -m femto` and the `femto` script."""

import signal


def run() -> None:
    """The command line. A process that a signal has stopped ends by that signal, also while it is still loading."""
    from femto.system.signals import EndedBySignal, end_by

    try:
        from femto.commands import main
        from femto.commands.shared.streams import flush, prepare

        prepare()
        main(prog_name="femto")
    except KeyboardInterrupt:
        end_by(signal.SIGINT)
    except EndedBySignal as ended:
        flush()
        end_by(ended.number)


if __name__ == "__main__":
    run()
