"""Prints a bearer token for a user of a local stack: `python -m ops.token --home DIR --user NAME`.

A name that is new is a new user: the API gives every user it has not seen a merchant of their own.
"""

import argparse
import os
import sys
from pathlib import Path

from ops.home import DEFAULT_HOME, kept_secrets, mint_token


def main() -> int:
    """Print the token and nothing else; 1 with the reason on stderr when there is none to give."""
    parser = argparse.ArgumentParser(prog="make token", description=__doc__)
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME, help="the stack's folder (default: %(default)s)")
    parser.add_argument("--user", default="demo", help="the user's name (default: %(default)s)")
    arguments = parser.parse_args()
    if not (arguments.home / "secrets.env").exists():
        print(f"{arguments.home} is no stack's home; start one there first: make up", file=sys.stderr)
        return 1
    secret = os.environ.get("JWT_SECRET") or kept_secrets(arguments.home)["JWT_SECRET"]
    try:
        print(mint_token(secret, arguments.user))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
