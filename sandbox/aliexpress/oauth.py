"""OAuth: consent, exchange of the code, refresh with both tokens rotating."""

from urllib.parse import urlencode, urlsplit

from sandbox.aliexpress.envelopes import Refused, request_id
from sandbox.aliexpress.state import Grant, State
from sandbox.wire import Answer, Call, Item


def authorize(state: State, call: Call) -> Answer:
    """The consent page, at which the buyer agrees at once: back to `redirect_uri` with code and state."""
    query = call.query
    app = state.apps.get(query.get("client_id", ""))
    address = query.get("redirect_uri", "")
    if app is None or query.get("response_type") != "code":
        return _page("client_id or response_type is not valid")
    if urlsplit(address).scheme not in ("http", "https") or (app.callback and app.callback != address):
        return _page("redirect_uri does not match the callback URL of the app")
    given = {"code": state.code(app.key, "buyer@example.com", call.at)}
    if "state" in query:
        given["state"] = query["state"]
    call.effects.append(f"code_issued {app.key}")
    target = f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(given)}"
    return Answer(302, b"", None, [("Location", target)])


def _page(problem: str) -> Answer:
    return Answer(400, f"<html><body><h1>Error</h1><p>{problem}</p></body></html>".encode(), "text/html;charset=UTF-8")


def create(state: State, call: Call, params: dict[str, str]) -> Item:
    """Tokens for a code, which is used up by it. Raises Refused."""
    if "code" not in params:
        raise Refused("MissingParameter", "The input parameter code that is mandatory is not supplied")
    code = state.codes.pop(params["code"], None)
    if code is None or code.app_key != params["app_key"] or code.ends <= call.at:
        raise Refused("InvalidParameter", "Invalid code")
    return _tokens(state, call, state.grant(code.app_key, code.account, call.at))


def refresh(state: State, call: Call, params: dict[str, str]) -> Item:
    """New tokens for a refresh token; the old ones are worth nothing from then on. Raises Refused."""
    old = state.by_refresh.get(params.get("refresh_token", ""))
    if old is None or old.app_key != params["app_key"] or old.refresh_ends <= call.at or call.revoked:
        raise Refused("IllegalRefreshToken")
    state.forget(old)
    return _tokens(state, call, state.grant(old.app_key, old.account, call.at))


def _tokens(state: State, call: Call, grant: Grant) -> Item:
    call.effects.append(f"tokens_issued {grant.app_key} {grant.account}")
    return {
        "refresh_token_valid_time": int(grant.refresh_ends * 1000),
        "havana_id": "3000000000001",
        "expire_time": int(grant.access_ends * 1000),
        "locale": "zh_CN",
        "user_nick": "uk0000000000demo",
        "access_token": grant.access,
        "refresh_token": grant.refresh,
        "user_id": "6000000001",
        "account_platform": "buyerApp",
        "refresh_expires_in": state.settings.refresh_seconds,
        "expires_in": state.settings.access_seconds,
        "sp": "ae",
        "seller_id": "6000000001",
        "account": grant.account,
        "code": "0",
        "request_id": request_id(call),
    }
