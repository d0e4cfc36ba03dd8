"""The affiliate proxy described for ChatGPT's Actions, out of its routes' own description.

Their limits: a document of OpenAPI 3.1 with a server; an `operationId` for each operation; summaries and descriptions
of operations within 300 characters, of parameters within 700; no headers of one's own; requests and answers below
100,000 characters within 45 seconds (api/affiliate.py and services/affiliate keep to these two).
"""

from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request

from api import affiliate
from services.core.settings import Settings

PATH = "/openapi-gpt.json"
OPERATION_LENGTH = 300
PARAMETER_LENGTH = 700

DESCRIPTION = (
    "Search products of AliExpress and make links that earn a commission. Where metadata.mock_mode is true a sandbox"
    " made the answer up: say so, and never pass it off as real."
)

router = APIRouter(tags=["affiliate"])


@router.get(PATH, include_in_schema=False)
def describe_for_chatgpt(request: Request) -> dict[str, Any]:
    """The affiliate operations for ChatGPT's Actions; with AFFILIATE_PUBLIC they need no authentication."""
    settings: Settings = request.app.state.settings
    server = (settings.api_url or str(request.base_url)).rstrip("/")
    return described(_document(), server=server, public=settings.affiliate_public)


@cache
def _document() -> dict[str, Any]:
    return get_openapi(title="", version="", routes=affiliate.older_router.routes)


def described(document: dict[str, Any], *, server: str, public: bool) -> dict[str, Any]:
    """What Actions are given of a description, within their limits."""
    paths = {
        path: {method: _operation(operation, public=public) for method, operation in document["paths"][path].items()}
        for path in sorted(affiliate.OLDER_PATHS)
    }
    schemas = _needed(paths, document["components"]["schemas"])
    components: dict[str, Any] = {"schemas": {name: _described(schema) for name, schema in schemas.items()}}
    if not public:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "ShopOpti: AliExpress for affiliates", "version": "1", "description": DESCRIPTION},
        "servers": [{"url": server}],
        "paths": paths,
        "components": components,
    }


def _operation(operation: dict[str, Any], *, public: bool) -> dict[str, Any]:
    short: dict[str, Any] = {
        "operationId": operation["operationId"].partition("_api_")[0],
        "summary": _cut(operation["summary"], OPERATION_LENGTH),
        "description": _cut(operation.get("description", ""), OPERATION_LENGTH),
        "x-openai-isConsequential": False,  # nothing is bought or changed
        "responses": {status: answer for status, answer in operation["responses"].items() if status == "200"},
    }
    if not public:
        short["security"] = [{"bearer": []}]
    parameters = [_described(one) for one in operation.get("parameters", ()) if one["in"] == "query"]
    if parameters:
        short["parameters"] = parameters
    if "requestBody" in operation:
        short["requestBody"] = operation["requestBody"]
    return short


def _needed(paths: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schemas that are referred to, and those that they refer to."""
    needed: dict[str, Any] = {}
    ahead = _references(paths)
    while ahead:
        name = ahead.pop()
        if name not in needed:
            needed[name] = schemas[name]
            ahead |= _references(schemas[name])
    return {name: needed[name] for name in sorted(needed)}


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


def _described(value: Any) -> Any:
    """The same with every description short enough."""
    if isinstance(value, dict):
        return {
            name: _cut(inner, PARAMETER_LENGTH) if name == "description" and isinstance(inner, str)
            else _described(inner)
            for name, inner in value.items()
        }  # fmt: skip
    return [_described(inner) for inner in value] if isinstance(value, list) else value


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"
