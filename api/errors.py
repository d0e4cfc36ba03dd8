"""Every error leaves as a problem document (RFC 9457): type, title, status, detail, code, param, request_id."""

import logging
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from services.core.db import DatabaseAway, unavailable
from services.core.errors import Invalid, NotFound, ShopOptiError, TooLarge, Unauthorized, Unavailable
from services.core.log import bound

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, for programs (`code`, `param`) and for people (`detail`)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:shopopti:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str
    code: str = Field(description="Stable; programs decide by it.", examples=["not_found"])
    param: str | None = Field(default=None, description="The field, parameter or header at fault.")
    request_id: str | None = Field(default=None, description="Quote it when you ask for help.")


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, description in (
        (401, "No valid access token."),
        (422, "Something in the request cannot be understood; `param` says what."),
        (429, "Too many requests; `Retry-After` says how long to wait."),
        (503, "Away for the moment; `Retry-After` says when to try again."),
    )
}


class InvalidRequest(Invalid):
    """The request cannot be understood."""


class InvalidValue(Invalid):
    """A value in the request cannot be stored: a NUL character, or a number out of range."""


class Busy(Unavailable):
    """Too much is going on at the moment."""


class RouteNotFound(NotFound):
    """There is nothing at this address."""


class MethodNotAllowed(ShopOptiError):
    """This address does not take that method; `Allow` says which it takes."""

    status = 405


_OF_HTTP: dict[int, type[ShopOptiError]] = {
    404: RouteNotFound,
    405: MethodNotAllowed,
    413: TooLarge,
}


_OF_DATABASE: tuple[tuple[type[Exception], Callable[[Any], ShopOptiError]], ...] = (
    (PoolTimeout, lambda _: Busy(retry_after=2)),
    (OperationalError, unavailable),
    (InterfaceError, lambda _: DatabaseAway(retry_after=2)),
    (DataError, lambda _: InvalidValue()),
)


def problem(error: ShopOptiError, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The error as a response."""
    status = error.status
    body: dict[str, Any] = {
        "type": f"urn:shopopti:problem:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.param is not None:
        body["param"] = error.param
    if (request_id := bound("request_id")) is not None:
        body["request_id"] = request_id
    own = dict(headers or {})
    if error.retry_after is not None:
        own.setdefault("Retry-After", str(max(1, math.ceil(error.retry_after))))
    if isinstance(error, Unauthorized):
        hint = 'error="invalid_token", ' if error.code != "missing_token" else ""
        own.setdefault("WWW-Authenticate", f'Bearer {hint}realm="shopopti"')
    content = {**jsonable_encoder(error.extra), **body}
    return JSONResponse(content, status_code=status, headers=own, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> JSONResponse:
    """Any exception as a response. What is not ours tells nothing of its inside; the log has it."""
    headers = error.headers if isinstance(error, HTTPException) else None
    return problem(_translated(error), headers=headers)


def _translated(error: Exception) -> ShopOptiError:
    found: ShopOptiError = ShopOptiError()
    if isinstance(error, ShopOptiError) and (error.status < 500 or isinstance(error, Unavailable)):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException) and error.status_code == 400:  # FastAPI's word for a body it cannot take apart
        return InvalidRequest(str(error.detail), param="body")
    if isinstance(error, HTTPException) and error.status_code in _OF_HTTP:
        return _OF_HTTP[error.status_code]()
    for database_error, make in _OF_DATABASE:
        if isinstance(error, database_error):
            found = make(error)
            break
    logger.log(logging.ERROR if found.status == 500 else logging.WARNING, "request failed", exc_info=error)
    return found


def _invalid(error: RequestValidationError) -> InvalidRequest:
    errors = []
    for found in error.errors():
        where, *path = found["loc"] or ("body",)
        if found["type"] == "json_invalid":
            path = []  # a character offset is no field
        errors.append(
            {
                "param": ".".join(str(part) for part in path) or str(where),
                "in": str(where),
                "code": found["type"],
                "detail": found["msg"],
            }
        )
    first = errors[0]
    return InvalidRequest(f"{first['param']}: {first['detail']}", param=first["param"], errors=errors)


def install(app: FastAPI) -> None:
    """Register the handlers. Exceptions that are none of these reach api/context.py and end in `problem_of` too.

    Also puts the schema of problems into the API's description.
    """
    describe = app.openapi

    def describe_with_problems() -> dict[str, Any]:
        document = describe()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        return document

    app.openapi = describe_with_problems  # type: ignore[method-assign]  # as FastAPI's documentation says

    async def handle(_request: Request, error: Exception) -> JSONResponse:
        return problem_of(error)

    for kind in (ShopOptiError, RequestValidationError, HTTPException, *(kind for kind, _ in _OF_DATABASE)):
        app.add_exception_handler(kind, handle)
