"""AliExpress's envelopes, list wrappers and errors.

Source: the platform's pages on calling and on error codes (docs 1372, 1790) and bodies captured in 2026. Everything
comes with HTTP 200: a gateway's error, a business error inside its envelope, a list that is an object.
"""

import random
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.core.clock import now
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    ReconnectNeeded,
    Retry,
    SupplierError,
    WaitUntil,
)
from services.suppliers.wire import Reply, Unreadable, loads, text_of

OK = frozenset({"0", "00", "200"})
EMPTY = "405"  # "The result is empty"

_SIGNATURE = frozenset({"IncompleteSignature", "InvalidAppKey", "IllegalAppKey", "IllegalTimestamp", "25", "29"})
_TOKEN = frozenset({"IllegalAccessToken", "IllegalRefreshToken", "26", "27"})
_LIMITED = frozenset({"ApiCallLimit", "AppCallLimit", "7", "isp.top-flow-control-limited"})
_PERMISSION = frozenset({"InsufficientPermission", "11", "12", "13", "isv.insufficient-permission"})
_ITEM = frozenset({"isv.invalid-authorization"})
_PARAMETERS = frozenset({"MissingParameter", "InvalidParameter", "UnsupportedParamMapping", "40", "41"})
_GONE = frozenset({"InvalidApiPath", "22"})


@dataclass(frozen=True, slots=True)
class GatewayError:
    """What the gateway says instead of an answer."""

    code: str
    sub_code: str
    message: str
    kind: str  # SYSTEM, ISV (the caller's fault), ISP (theirs)

    def has(self, names: frozenset[str]) -> bool:
        """Whether one of its codes is among them."""
        return self.code in names or self.sub_code in names

    @property
    def before_work(self) -> bool:
        """Whether it was certainly refused before anything was done."""
        if self.has(_LIMITED | _SIGNATURE | _TOKEN | _PERMISSION | _PARAMETERS | _GONE | _ITEM):
            return True
        return self.kind == "ISV" and not self.sub_code.startswith("isp.")


def opened(method: str, reply: Reply) -> dict[str, Any]:
    """The payload of a business method's answer, of a simplified answer too. Raises Gateway, and what `read` does."""
    content = read(method, reply)
    if error := gateway_error(content):
        raise Gateway(error)
    envelope = content.get(method.replace(".", "_") + "_response")
    if envelope is None and {"result", "resp_result", "data"} & content.keys():
        envelope = content
    if not isinstance(envelope, dict):
        raise Unreadable(f"AliExpress's answer to {method} is no answer to it.")
    if error := gateway_error(envelope):
        raise Gateway(error)
    return envelope


def read(method: str, reply: Reply) -> dict[str, Any]:
    """An answer's JSON object. Raises Unreadable, Retry (5xx), WaitUntil (429)."""
    if reply.status == 429:
        raise WaitUntil(now() + timedelta(seconds=_pause(1.0)))
    if reply.status >= 500 or reply.status in (408, 425):
        raise Retry(f"AliExpress answered {reply.status}.")
    try:
        content = loads(reply.body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Unreadable(f"AliExpress's answer to {method} cannot be read.")
    return content


def gateway_error(content: dict[str, Any]) -> GatewayError | None:
    """The error an answer is: in `error_response`, or bare at the top."""
    said = content.get("error_response")
    if not isinstance(said, dict):
        said = content
        code = text_of(said.get("code"))
        if code is None or code in OK or "request_id" not in said:
            return None
        if not {"type", "message", "msg"} & said.keys() or {"result", "resp_result", "data"} & said.keys():
            return None
    return GatewayError(
        text_of(said.get("code")) or "",
        text_of(said.get("sub_code")) or "",
        text_of(said.get("sub_msg")) or text_of(said.get("msg")) or text_of(said.get("message")) or "",
        text_of(said.get("type")) or "",
    )


class Gateway(Exception):
    """A gateway's error on its way to where it is known what the call was."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.message)
        self.error = error


def classified(error: GatewayError, *, about: tuple[str, ...] = ()) -> SupplierError:
    """The error to raise; `about`: the call was about these of the account's, which it may not own."""
    told = f"{error.message} ({error.sub_code or error.code})"[:300]
    code = error.sub_code or error.code
    if error.has(_LIMITED):
        seconds = re.search(r"last (\d{1,5}) second", error.message)
        pause = _pause(float(seconds[1]) if seconds else 1.0)
        return WaitUntil(now() + timedelta(seconds=pause), told, supplier_code=code)
    if error.has(_TOKEN):
        return ReconnectNeeded(told, supplier_code=code)
    if error.has(_SIGNATURE):
        return FatalForConnection(told, kind="signature", supplier_code=code)
    if error.has(_ITEM) or (about and error.sub_code == "isv.insufficient-permission"):
        return FatalForItem(told, kind="not_found", supplier_code=code, items=about)
    if error.has(_PERMISSION) or error.sub_code.startswith("isv.permission-"):
        return FatalForConnection(told, kind="permission", supplier_code=code)
    if error.has(_GONE):
        return FatalForConnection(told, kind="endpoint_gone", supplier_code=code)
    if error.has(_PARAMETERS) or error.sub_code.startswith("isv.") or (error.kind == "ISV" and not error.sub_code):
        return FatalForItem(told, kind="invalid", supplier_code=code, items=about)
    return Retry(told, supplier_code=code)


def inner(payload: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """A payload's own code as text, its words, and its result; the code is "" when there is none.

    Knows the three places: `resp_result`, `rsp_code` beside `result`, `code` with `data` or inside `result`.
    """
    answer = payload.get("resp_result")
    if isinstance(answer, dict):
        found = answer.get("result")
        return (
            _code(answer, "resp_code"),
            text_of(answer.get("resp_msg")) or "",
            found if isinstance(found, dict) else {},
        )
    result = payload.get("result")
    if not isinstance(result, dict):
        data = payload.get("data")
        words = text_of(payload.get("msg")) or text_of(payload.get("rsp_msg")) or ""
        return _code(payload, "code") or _code(payload, "rsp_code"), words, data if isinstance(data, dict) else {}
    if "rsp_code" in payload:
        return _code(payload, "rsp_code"), text_of(payload.get("rsp_msg")) or "", result
    return _code(result, "code"), text_of(result.get("msg")) or "", result


def listed(value: object, item: str) -> list[Any]:
    """The elements of a list in any form: `{item: […]}`, `{item: element}`, `[…]`, an element, `{}`, nothing."""
    if isinstance(value, dict) and item in value:
        value = value[item]
    if isinstance(value, list):
        return value
    return [] if value is None or value in ({}, "") else [value]


def flag(value: object) -> bool | None:
    """True and false, also as text; None for all else."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _code(said: dict[str, Any], name: str) -> str:
    return text_of(said.get(name)) or ""


def _pause(seconds: float) -> float:
    """A little longer than told, and not all at once."""
    return min(seconds, 3600.0) + 0.25 + random.random() * 0.75
