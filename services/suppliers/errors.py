"""What can go wrong with a supplier, classified once by its adapter.

Every failure is one of six classes, by what the caller can do about it; a seventh says that a supplier has no such
thing. `kind` is a stable word of ours for what was wrong, `supplier_code` the supplier's own, `items` what it was
about.

Kinds of FatalForItem: ``not_found``, ``out_of_stock``, ``inactive``, ``address``, ``funds``, ``minimum``, ``shipping``,
``payment``, ``too_dear``, ``not_to_country``, ``another`` (what was asked for is somebody else's), ``invalid``; of
FatalForConnection: ``permission``, ``signature``,
``endpoint_gone``, ``schema``, ``unreachable``; of UnknownOutcome: ``known_there``, when the supplier says that it has
the reference already and does not say as what.
"""

from datetime import datetime
from typing import Any

from services.core.clock import now
from services.core.errors import Conflict, Invalid, ShopOptiError, TooMany, Unavailable


class SupplierError(ShopOptiError):
    """A supplier did not do as asked."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        kind: str = "",
        supplier_code: str | None = None,
        items: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        told: dict[str, Any] = {"kind": kind, "supplier_code": supplier_code, "items": list(items)}
        super().__init__(detail, retry_after=retry_after, **{name: value for name, value in told.items() if value})
        self.kind = kind
        self.supplier_code = supplier_code
        self.items = items


class Retry(SupplierError, Unavailable):
    """The supplier is not answering as it should. Nothing was changed there; it may work later."""

    code = "supplier_unavailable"


class WaitUntil(SupplierError, TooMany):
    """The supplier takes no more of these calls before `when`. This one had no effect.

    Of many who wait each will hold up the others for `every` seconds; None: nobody knows.
    """

    code = "supplier_quota"

    def __init__(
        self, when: datetime, detail: str | None = None, *, supplier_code: str | None = None, every: float | None = None
    ) -> None:
        left = max(0.0, (when - now()).total_seconds())
        super().__init__(detail, supplier_code=supplier_code, retry_after=left)
        self.when = when
        self.every = every


class ReconnectNeeded(SupplierError, Invalid):
    """The supplier no longer accepts these credentials. A token may be refreshed once; else the merchant must act."""

    code = "supplier_reconnect_needed"


class FatalForItem(SupplierError, Invalid):
    """The supplier refused this product or order, and would again. Others are not concerned."""

    code = "supplier_refused"


class FatalForConnection(SupplierError, Invalid):
    """Nothing of this kind will work over this connection until something there is changed."""

    code = "supplier_connection_broken"


class UnknownOutcome(SupplierError, Conflict):
    """The call may have had its effect. It must be looked up, or sent again under the same reference only."""

    code = "supplier_outcome_unknown"


class NotOffered(SupplierError, Invalid):
    """This supplier has no such thing; its capabilities say so."""

    code = "supplier_not_offered"
