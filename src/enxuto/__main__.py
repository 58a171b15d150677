"""`main`: the entry point of the `enxuto` script and of `python -m enxuto`.

The command line is imported inside, as that takes most of a second in which people press Ctrl-C too.
"""

import sys

from enxuto.machine.signals import end_on_sigterm, exit_code


def main() -> None:
    """Run the command line; SIGTERM ends it as a Ctrl-C does, with exit code 143 instead of 130."""
    with end_on_sigterm():
        try:
            from enxuto.cli import app
        except KeyboardInterrupt as interrupt:
            sys.stderr.write("error: interrupted before anything was begun\n")
            sys.exit(exit_code(interrupt))
        try:
            app()
        except OSError as error:  # help and the version are written by libraries
            sys.stderr.write(f"error: cannot write to standard output: {error.strerror or error}\n")
            sys.exit(2)


if __name__ == "__main__":
    main()
