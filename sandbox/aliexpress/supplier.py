"""AliExpress: which method it is, whether signature, quota, permission and token are right, and who answers."""

import time
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl

from sandbox.aliexpress import affiliate, ds, envelopes, oauth, orders, signing
from sandbox.aliexpress.envelopes import Refused, error, payload
from sandbox.aliexpress.state import App, Grant, Settings, State
from sandbox.catalogue import Catalogue
from sandbox.limits import Limits
from sandbox.wire import Answer, Call

DS_KEY, AFFILIATE_KEY, SECRET = "12345678", "87654321", "helloworld"
TEST_TOKEN = "test-token"  # noqa: S105 (of the sandbox's own world)
LIMITS = {"*": (50, 1)}
TIMESTAMP_SECONDS = 7_200
LEGACY_SECONDS = 600

DS = {**ds.METHODS, **orders.METHODS}
AFFILIATE = affiliate.METHODS
AUTH = {"/auth/token/create": oauth.create, "/auth/token/refresh": oauth.refresh}


class AliExpress:
    """One AliExpress, with a catalogue, apps, grants and orders."""

    name = "aliexpress"

    def __init__(self, seed: int, products: int, stock_drift: float, price_drift: float) -> None:
        """Two apps, one for dropshipping with a token that never ends, and one for affiliates."""
        catalogue = Catalogue(
            seed=seed, salt=self.name, products=products, stock_drift=stock_drift, price_drift=price_drift
        )
        apps = [App(DS_KEY, SECRET, "ds"), App(AFFILIATE_KEY, SECRET, "affiliate")]
        self.state = State(catalogue, {app.key: app for app in apps}, Limits(LIMITS), Settings())
        never = 32_503_680_000.0
        grant = Grant(DS_KEY, "buyer@example.com", TEST_TOKEN, "", never, 0.0)
        self.state.by_access[grant.access] = grant

    def recognise(self, call: Call) -> None:
        """The method's name, or the path below /rest; and the app's key."""
        params = merged(call)
        match call.path:
            case "/sync":
                method = params.get("method", "")
                call.route = method if method in DS or method in AFFILIATE else "?"
            case "/oauth/authorize":
                call.route = "/oauth/authorize"
                call.key = call.query.get("client_id")
                return
            case path:
                below = path.removeprefix("/rest")
                call.route = below if below in AUTH and path != below else "?"
        call.key = params.get("app_key")

    def admit(self, call: Call) -> Answer | None:
        """App, timestamp, signature; then the quota, which is the gateway's and comes before any work."""
        if call.route == "/oauth/authorize":
            return None
        try:
            app = self._signed(call)
            verdict = self.state.limits.count(app.key, call.route, call.at)
            if verdict is not None and not verdict.passes:
                raise Refused("ApiCallLimit")
        except Refused as refused:
            return error(call, refused, flat=_is_flat(call))
        return None

    def _signed(self, call: Call) -> App:
        params = merged(call)
        for name in ("app_key", "timestamp", "sign_method", "sign"):
            if not params.get(name):
                raise Refused("MissingParameter", f"The input parameter {name} that is mandatory is not supplied")
        app = self.state.apps.get(params["app_key"])
        if app is None:
            raise Refused("InvalidAppKey")
        if self.state.settings.check_timestamp and not _is_recent(params["timestamp"]):
            raise Refused("IllegalTimestamp")
        path = call.path.removeprefix("/rest") if _is_flat(call) else ""
        if signing.sign(params, secret=app.secret, method=params["sign_method"], path=path) != params["sign"]:
            raise Refused("IncompleteSignature")
        return app

    def answer(self, call: Call) -> Answer:
        """What the method says."""
        params = merged(call)
        if call.route == "/oauth/authorize":
            return oauth.authorize(self.state, call)
        try:
            if call.route in AUTH:
                return envelopes.answer(AUTH[call.route](self.state, call, params))
            if call.route == "?":
                raise Refused("InvalidApiPath")
            value = self._value(call, params)
        except Refused as refused:
            return error(call, refused, flat=_is_flat(call))
        return payload(call, call.route, value, simplify=params.get("simplify") == "true")

    def _value(self, call: Call, params: dict[str, str]) -> dict[str, object]:
        app = self.state.apps[params["app_key"]]
        if app.group != ("ds" if call.route in DS else "affiliate"):
            raise Refused("InsufficientPermission")
        if call.route in AFFILIATE:
            return AFFILIATE[call.route](self.state, call, params)
        token = params.get("session") or params.get("access_token") or ""
        grant = self.state.by_access.get(token)
        if call.revoked or grant is None or grant.app_key != app.key or grant.access_ends <= call.at:
            raise Refused("IllegalAccessToken")
        return DS[call.route](self.state, call, params, grant.account)

    def soft_error(self, call: Call, variant: str | None) -> Answer:
        """`isp` (the default), `remote` (un-nested), `flow` (legacy 7) or `inner` (inside the method's envelope)."""
        match variant:
            case None | "isp":
                return error(call, Refused("isp.service-unavailable", "Service unavailable", kind="ISP"))
            case "remote":
                return error(call, Refused("15", "Remote service error", kind="ISP"), flat=True)
            case "flow":
                return error(call, Refused("7", "App Call Limited", sub_code="isp.top-flow-control-limited"))
            case "inner":
                return payload(call, call.route, {"rsp_code": 404, "rsp_msg": "System Error"}, simplify=False)
        raise ValueError(f"soft: variant is isp, remote, flow or inner, not {variant}")

    def exhausted(self, call: Call) -> Answer:
        """ApiCallLimit."""
        return error(call, Refused("ApiCallLimit"), flat=_is_flat(call))


def merged(call: Call) -> dict[str, str]:
    """Query and form together, as the gateway sees them."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return dict(call.query)
    return {**call.query, **dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))}


def _is_flat(call: Call) -> bool:
    return call.path.startswith("/rest/")


def _is_recent(timestamp: str) -> bool:
    """Milliseconds within two hours, or the legacy form (GMT+8) within ten minutes, of the real time."""
    if timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16:
        return abs(time.time() - int(timestamp) / 1000) <= TIMESTAMP_SECONDS
    try:
        moment = datetime.strptime(timestamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone(timedelta(hours=8)))
    except ValueError:
        return False
    return abs((datetime.now(UTC) - moment).total_seconds()) <= LEGACY_SECONDS
