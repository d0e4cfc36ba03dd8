"""The adapters by name. A package of this folder with a `CAPABILITIES` is one: nothing has to be listed."""

import importlib
import pkgutil
from functools import cache
from typing import cast

from services import suppliers
from services.core.errors import NotFound
from services.suppliers.base import Adapter


class NoSuchSupplier(NotFound):
    """There is no supplier of this name."""


def adapter(name: str) -> Adapter:
    """The adapter of that name. Raises NoSuchSupplier."""
    try:
        return adapters()[name]
    except KeyError:
        raise NoSuchSupplier(f"There is no supplier {name[:80]!r}.") from None


@cache
def adapters() -> dict[str, Adapter]:
    """All of them, by name."""
    modules = [
        importlib.import_module(f"{suppliers.__name__}.{found.name}")
        for found in pkgutil.iter_modules(suppliers.__path__)
        if found.ispkg
    ]
    return {module.NAME: cast(Adapter, module) for module in modules if hasattr(module, "CAPABILITIES")}
