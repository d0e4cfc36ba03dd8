"""Looks after the queues: `python -m ops.queue list | pause NAME --why TEXT | resume NAME | cap NAME N`.

Works on DATABASE_URL, or on the running local stack of `--home`.
"""

import argparse
import getpass
import os
import sys
from pathlib import Path

from sqlalchemy.orm import Session

from ops.home import DEFAULT_HOME, kept_secrets, read_env
from services.core import db
from services.core.errors import ShopOptiError
from services.jobs.queues import list_queues, pause_queue, resume_queue, set_queue_caps
from services.models import Queue


def main() -> int:
    """Do what was asked and print the queues concerned; 1 with the reason on stderr when that cannot be."""
    arguments = _arguments()
    if not os.environ.get("DATABASE_URL"):
        if not (arguments.home / "env").exists():
            print(f"no DATABASE_URL in the environment, and no stack in {arguments.home}", file=sys.stderr)
            return 1
        os.environ.update(kept_secrets(arguments.home) | read_env(arguments.home / "env"))
    try:
        with db.transaction(role="shopopti_ledger") as session:
            for queue in _do(session, arguments):
                print(_described(queue))
    except ShopOptiError as error:
        print(error or error.__doc__, file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make queue", description=__doc__)
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME, help="the stack's folder (default: %(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="all queues")
    pause = verbs.add_parser("pause", help="start nothing more of a queue; what runs goes on")
    pause.add_argument("name")
    pause.add_argument("--why", required=True, help="merchants whose jobs wait are shown this")
    pause.add_argument("--by", default=getpass.getuser(), help="who pauses (default: %(default)s)")
    resume = verbs.add_parser("resume", help="let a paused queue go on")
    resume.add_argument("name")
    cap = verbs.add_parser("cap", help="bound how many jobs of a queue are in flight")
    cap.add_argument("name")
    cap.add_argument("jobs", type=_bound, help="over all merchants; `none` lifts the bound")
    cap.add_argument("--per-merchant", type=_bound, default=-1, help="for each merchant; `none`: the setting's")
    return parser.parse_args()


def _bound(text: str) -> int | None:
    if text == "none":
        return None
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("0 or more, or none")
    return number


def _do(session: Session, arguments: argparse.Namespace) -> list[Queue]:
    match arguments.verb:
        case "pause":
            return [pause_queue(session, name=arguments.name, by=arguments.by, why=arguments.why)]
        case "resume":
            return [resume_queue(session, name=arguments.name)]
        case "cap":
            merchant_cap = arguments.per_merchant
            if merchant_cap == -1:  # not named: as it is
                merchant_cap = next((q.merchant_cap for q in list_queues(session) if q.name == arguments.name), None)
            caps = {"max_running": arguments.jobs, "merchant_cap": merchant_cap}
            return [set_queue_caps(session, name=arguments.name, **caps)]
        case _:
            return list_queues(session)


def _described(queue: Queue) -> str:
    state = queue.paused_at and f"paused {queue.paused_at:%Y-%m-%d %H:%M} by {queue.paused_by}: {queue.pause_reason}"
    caps = f"cap {_or_none(queue.max_running)}, per merchant {_or_none(queue.merchant_cap, 'as set')}"
    return f"{queue.name:<10} {caps:<32} {state or 'open'}"


def _or_none(number: int | None, otherwise: str = "none") -> str:
    return otherwise if number is None else str(number)


if __name__ == "__main__":
    sys.exit(main())
