"""Flower, which can cancel jobs and shows their arguments: never open to a network without a password."""

import ipaddress
import os
import sys
from importlib import import_module

from services.core.loading import loading
from workers.app import app


def main(arguments: list[str]) -> None:
    """Run Flower with these command-line arguments. Exits when anybody could reach it without a password."""
    address = next((word.partition("=")[2] for word in arguments if word.startswith("--address=")), "")
    if not _is_loopback(address) and not os.environ.get("FLOWER_BASIC_AUTH"):
        sys.exit(f"flower would listen on {address!r}, where others can reach it: set FLOWER_BASIC_AUTH=user:password")
    with loading():
        import_module("flower.command")
    app.start(["--quiet", "flower", *arguments])


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


if __name__ == "__main__":
    main(sys.argv[1:])
