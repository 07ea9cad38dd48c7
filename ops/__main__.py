"""The program: `tapehouse`, or `python -m ops`."""

import signal


def start() -> None:
    """Run the command line. Ctrl-C while it is still imported ends the process without a traceback."""
    taken = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if taken:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ops.cli.main import main

    if taken:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


if __name__ == "__main__":
    start()
