"""The `Idempotency-Key` header: the same POST sent twice acts once and is answered the same.

    @router.post("", status_code=201, response_model=ThingOut)
    def create(body: ThingIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
        def make() -> ThingOut:
            return ThingOut.model_validate(things.create(session, …), from_attributes=True)

        return once(session, body, status=201, make=make)

`asked` (the second argument) is what makes two requests the same: the body model, or for an upload whatever the
endpoint knows its content by. The key is taken before `make` runs and kept in its transaction.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header
from fastapi.encoders import jsonable_encoder
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.core.errors import Invalid
from services.merchants.answers import MAX_KEY_LENGTH, keep, reserve


class IdempotencyKeyInvalid(Invalid):
    """An Idempotency-Key is 1 to 255 printable ASCII characters."""


class Once:
    """One POST's key, or none: then the work is simply done."""

    def __init__(self, *, key: str | None, route: str) -> None:
        self.key = key
        self.route = route

    def __call__(
        self, session: Session, asked: object, *, status: int | Callable[[Any], int], make: Callable[[], Any]
    ) -> Response:
        """What `make` returns as the response, or the first response again, marked `Idempotent-Replayed`.

        `status` may be asked of what it returned.
        Raises IdempotencyKeyReused, IdempotencyKeyInUse.
        """
        if self.key is None:
            made = make()
            return JSONResponse(jsonable_encoder(made), status_code=status if isinstance(status, int) else status(made))
        before = reserve(session, key=self.key, route=self.route, fingerprint=fingerprint(asked))
        if before is not None:
            return JSONResponse(before.body, status_code=before.status, headers={"Idempotent-Replayed": "true"})
        made = make()
        content, code = jsonable_encoder(made), status if isinstance(status, int) else status(made)
        keep(session, key=self.key, status=code, body=json.dumps(content))
        return JSONResponse(content, status_code=code)


def fingerprint(asked: object) -> str:
    """SHA-256 of the canonical JSON of what was asked."""
    canonical = json.dumps(jsonable_encoder(asked), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _once(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Repeat a request with the same key: it acts once and is answered the same for 24 hours.",
        ),
    ] = None,
) -> Once:
    if key is not None and not (1 <= len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise IdempotencyKeyInvalid(param="Idempotency-Key")
    # The path as sent, ids included: the same key on another job's cancel is another request.
    return Once(key=key, route=f"{request.method} {request.url.path}")


IdempotencyKey = Annotated[Once, Depends(_once)]
