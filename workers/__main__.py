"""Celery's `worker` and `beat`, with their own options: `python -m workers worker -Q sync`.

The `celery` program loads the programs of all that is installed besides (Flower, a shell with completion) into each
process that it starts: a sixth of a worker's memory, and half a second.
"""

import sys

from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

from workers.app import app

COMMANDS = {"worker": worker, "beat": beat}


def main(name: str = "", *arguments: str) -> None:
    """Run one of `COMMANDS` with these command-line arguments; it ends the process."""
    if name not in COMMANDS:
        sys.exit(f"usage: python -m workers {{{','.join(COMMANDS)}}} …")
    context = CLIContext(app=app, no_color=False, workdir=None, quiet=True)
    COMMANDS[name].main(arguments, prog_name=f"workers {name}", obj=context)


if __name__ == "__main__":
    main(*sys.argv[1:])
