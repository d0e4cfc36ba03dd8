"""The relay, and Celery's `worker` and `beat` with their own options: `python -m workers worker -Q sync`.

The `celery` program loads the programs of all that is installed besides (Flower, a shell with completion) into each
process that it starts: a sixth of a worker's memory, and half a second.
"""

import sys

from services.core.loading import loading

COMMANDS = ("worker", "beat", "relay")


def main(name: str = "", *arguments: str) -> None:
    """Run one of `COMMANDS`, Celery's with these command-line arguments, until it is told to stop."""
    if name not in COMMANDS:
        sys.exit(f"usage: python -m workers {{{','.join(COMMANDS)}}} …")
    if name == "relay":
        with loading():
            from workers import relay
        relay.main()
    else:
        _celery(name, arguments)


def _celery(name: str, arguments: tuple[str, ...]) -> None:
    with loading():
        from celery.bin.base import CLIContext
        from celery.bin.beat import beat
        from celery.bin.worker import worker

        from workers.app import app

        if name == "worker":
            app.loader.import_default_modules()
    context = CLIContext(app=app, no_color=False, workdir=None, quiet=True)
    {"worker": worker, "beat": beat}[name].main(arguments, prog_name=f"workers {name}", obj=context)


if __name__ == "__main__":
    main(*sys.argv[1:])
