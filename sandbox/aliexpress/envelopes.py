"""Envelopes, list wrappers and errors of the open platform; every one of them is HTTP 200."""

import json
from typing import Any

from sandbox.wire import Answer, Call, Item

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

MESSAGES = {
    "IncompleteSignature": "The request signature does not conform to platform standards",
    "IllegalTimestamp": "The specified timestamp parameter is not within 7200s of the server time",
    "IllegalAccessToken": "The specified access token is invalid or expired",
    "IllegalRefreshToken": "The specified refresh token is invalid or expired",
    "InvalidAppKey": "The specified App Key is invalid",
    "InvalidApiPath": "The specified Api Path is invalid",
    "InsufficientPermission": "App does not have permission to access this api",
    "ApiCallLimit": "Api access frequency exceeds the limit. this ban will last 1 seconds",
}


class Refused(Exception):
    """Ends a call with a gateway error."""

    def __init__(self, code: str, message: str | None = None, *, kind: str = "ISV", **more: str) -> None:
        """`more` goes beside code and message: sub_code, sub_msg."""
        super().__init__(code)
        self.code, self.message, self.kind, self.more = code, message or MESSAGES.get(code, code), kind, more


def request_id(call: Call) -> str:
    """Looks like theirs: hex digits, the time in ms in it."""
    return f"2101546d{int(call.at * 1000)}{abs(hash((call.path, call.body))) % 10**7:07}"


def answer(value: object) -> Answer:
    """A JSON body, UTF-8 as it is."""
    return Answer(200, _encode(value).encode("utf-8", "replace"), "application/json;charset=UTF-8")


def error(call: Call, refused: Refused, *, flat: bool = False) -> Answer:
    """A gateway error: in `error_response`, or (below /rest) flat with `message` instead of `msg`."""
    body: Item = {"type": refused.kind, "code": refused.code}
    body["message" if flat else "msg"] = refused.message
    body |= {**refused.more, "request_id": request_id(call)}
    return answer(body if flat else {"error_response": body})


def payload(call: Call, method: str, value: Item, *, simplify: bool) -> Answer:
    """A success: the method's envelope around it; with `simplify` neither envelope nor list wrappers."""
    whole = {**value, "request_id": request_id(call), "_trace_id_": request_id(call)[::-1]}
    if simplify:
        return answer(_flattened(whole))
    return answer({f"{method.replace('.', '_')}_response": _plain(whole)})


class Wrapped(list[Any]):
    """A list that travels as `{"<kind>": […]}`; a single element now and then travels bare, none as `{}`."""

    def __init__(self, kind: str, items: list[Any], *, quirk: int) -> None:
        """`quirk` decides whether a single element is bare: if it is odd."""
        super().__init__(items)
        self.kind, self.bare = kind, quirk % 2 == 1


def _plain(value: Any) -> Any:
    if isinstance(value, Wrapped):
        items = [_plain(each) for each in value]
        if not items:
            return {}
        return {value.kind: items[0] if len(items) == 1 and value.bare else items}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _flattened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _flattened(each) for name, each in value.items()}
    return [_flattened(each) for each in value] if isinstance(value, list) else value


def resp_result(result: Item | None, code: int = 200, message: str = "success") -> Item:
    """The inner envelope of affiliate methods."""
    inner: Item = {"resp_code": code, "resp_msg": message}
    return {"resp_result": inner if result is None else {**inner, "result": result}}
