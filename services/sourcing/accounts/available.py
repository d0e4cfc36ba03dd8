"""Which suppliers there are to connect."""

import inspect
from dataclasses import dataclass

from services.sourcing.accounts.reach import has_sandbox
from services.suppliers.base import Capabilities
from services.suppliers.registry import adapters


@dataclass(frozen=True, slots=True)
class Available:
    """A supplier that can be connected, and what that takes."""

    name: str
    about: str
    secrets: tuple[str, ...]
    optional: tuple[str, ...]  # secrets that may be left out
    sandbox: bool  # the operator's sandbox can stand in for it
    capabilities: Capabilities


def available() -> list[Available]:
    """Every supplier, by name."""
    return [
        Available(
            name=name,
            about=" ".join((inspect.getdoc(found) or "").partition("\n\n")[0].split()),
            secrets=found.SECRETS,
            optional=found.OPTIONAL,
            sandbox=has_sandbox(name),
            capabilities=found.CAPABILITIES,
        )
        for name, found in sorted(adapters().items())
    ]
