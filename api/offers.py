"""A feed in a request: a file in a form with fields beside it, or the same fields as JSON with where it is."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from services.core.errors import Invalid, TooLarge
from services.core.settings import get_settings

Fields = TypeVar("Fields", bound=BaseModel)


class MultipartBroken(Invalid):
    """The body is not the multipart/form-data that its Content-Type promises."""


@dataclass(frozen=True, slots=True)
class Offer(Generic[Fields]):
    """What came in. `file` is None where the fields say where the feed is."""

    fields: Fields
    file: BinaryIO | None = None
    filename: str | None = None


class Body(Generic[Fields]):
    """A body that is a form with a file and fields, or JSON with where the file is: a dependency that gives an Offer.

    `json_fields` are JSON texts when they stand in a form. Depends on it with scope="function": the file is there as
    long. Raises `neither`, MultipartBroken, TooLarge, and what FastAPI makes a 422 of.
    """

    def __init__(
        self,
        in_form: type[Fields],
        in_json: type[Fields],
        *,
        neither: type[Invalid],
        json_fields: tuple[str, ...] = (),
    ) -> None:
        self.in_form, self.in_json, self.neither, self.json_fields = in_form, in_json, neither, json_fields

    async def __call__(self, request: Request) -> AsyncIterator[Offer[Fields]]:
        """The offer of a request."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            async with _form(request) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise self.neither(param="file")
                yield Offer(_valid(self.in_form, self._given(form)), file.file, file.filename)
        elif kind == "application/json":
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > get_settings().max_body_bytes:
                    raise TooLarge
            yield Offer(_valid(self.in_json, bytes(body)))
        else:
            raise self.neither(param="Content-Type")

    def _given(self, form: FormData) -> dict[str, Any]:
        given: dict[str, Any] = {name: value for name, value in form.items() if name != "file" and value != ""}
        return given | {
            name: _parsed(name, given[name]) for name in self.json_fields if isinstance(given.get(name), str)
        }

    @property
    def described(self) -> dict[str, Any]:
        """What OpenAPI is told of it: a route's `openapi_extra`."""
        form = self.in_form.model_json_schema()
        fields = form["properties"] | {name: {"type": "string", "description": "JSON"} for name in self.json_fields}
        schema = {
            "type": "object",
            "required": ["file", *form.get("required", ())],
            "properties": {"file": {"type": "string", "format": "binary"}, **fields},
        }
        content = {
            "multipart/form-data": {"schema": schema},
            "application/json": {"schema": self.in_json.model_json_schema()},
        }
        return {"requestBody": {"required": True, "content": content}}


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    try:
        form = await request.form(max_files=1, max_fields=10)
    except HTTPException as error:  # Starlette's word for what it cannot take apart
        raise MultipartBroken(str(error.detail), param="file") from None
    try:
        yield form
    finally:
        await form.close()


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(f"The {name} is not JSON.", param=name) from None


def _valid(model: type[Fields], given: bytes | dict[str, Any]) -> Fields:
    try:
        return model.model_validate_json(given) if isinstance(given, bytes) else model.model_validate(given)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_context=False)]
        raise RequestValidationError(found) from None
