"""Error families: what a caller can do about it decides the family, and the family decides the HTTP status.

A domain error subclasses its family beside the function that raises it. Its docstring is its message,
its class name in snake case is its stable wire code, unless it says otherwise:

    class ImportAlreadyActive(Conflict):
        "This file is already being imported."
"""

import re
from typing import Any, ClassVar


class ShopOptiError(Exception):
    """Something went wrong."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self, detail: str | None = None, *, param: str | None = None, retry_after: float | None = None, **extra: Any
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.param = param
        self.retry_after = retry_after  # seconds
        self.extra = extra  # JSON-ready members added to the problem body
        super().__init__(self.detail)


class Invalid(ShopOptiError):
    """The request cannot be understood."""

    status = 422


class Unauthorized(ShopOptiError):
    """A valid bearer token is needed."""

    status = 401


class Forbidden(ShopOptiError):
    """This caller may not do that."""

    status = 403


class NotFound(ShopOptiError):
    """There is no such thing."""

    status = 404


class Conflict(ShopOptiError):
    """The thing is not in a state that allows this."""

    status = 409


class TooLarge(ShopOptiError):
    """The body is larger than is allowed here."""

    status = 413


class TooMany(ShopOptiError):
    """Too many requests."""

    status = 429


class Unavailable(ShopOptiError):
    """Something this needs is away for the moment. The only family worth trying again."""

    status = 503
