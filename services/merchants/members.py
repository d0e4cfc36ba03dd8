"""Merchants and their members. Row-level security shows a user their own memberships and nothing else."""

from dataclasses import dataclass
from typing import Literal, cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.core.db import enter
from services.core.errors import Forbidden, NotFound
from services.core.ids import new_id
from services.merchants.tokens import User
from services.models import Member, Merchant

Role = Literal["owner", "staff", "viewer"]


class MerchantNotFound(NotFound):
    """There is no such merchant, or you are no member of it."""


class NoMembership(Forbidden):
    """You are no member of any merchant any more; ask an owner to invite you."""


class ReadOnlyRole(Forbidden):
    """Viewers may look but not change anything."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A merchant as one of its members sees it."""

    id: UUID
    name: str
    role: Role


# Text, not select(): this runs with every request, and building the expression costs more than sending it.
_MEMBERSHIPS = text("""
SELECT merchants.id, merchants.name, members.role
FROM members JOIN merchants ON merchants.id = members.merchant_id
WHERE members.user_id = :user_id
ORDER BY (merchants.founder_user_id = :user_id) DESC NULLS LAST, members.created_at, merchants.id
""")


def memberships(session: Session, *, user_id: UUID) -> list[Membership]:
    """Every merchant the user belongs to, the one they founded first, then by age of the membership."""
    rows = session.execute(_MEMBERSHIPS, {"user_id": user_id})
    return [Membership(id_, name, cast(Role, role)) for id_, name, role in rows]


def find_or_create_merchant(session: Session, user: User) -> list[Membership]:
    """The user's memberships; a user seen for the first time gets a merchant of their own, however many requests ask.

    The transaction must be the user's (`transaction(user_id=user.id)`), and still is afterwards, with no merchant set.
    Raises NoMembership for a founder who was removed.
    """
    found = memberships(session, user_id=user.id)
    if found:
        return found
    merchant_id = new_id()
    enter(session, merchant_id=merchant_id, user_id=user.id, role="shopopti_app")
    # A second request at the same moment waits here until the first has committed, and then inserts nothing.
    created = session.execute(
        insert(Merchant)
        .values(id=merchant_id, name=_first_name(user), founder_user_id=user.id)
        .on_conflict_do_nothing(index_elements=["founder_user_id"])
        .returning(Merchant.id)
    ).scalar_one_or_none()
    if created is not None:
        session.execute(insert(Member).values(merchant_id=merchant_id, user_id=user.id, role="owner"))
    enter(session, merchant_id=None, user_id=user.id, role="shopopti_app")
    found = memberships(session, user_id=user.id)
    if not found:
        raise NoMembership
    return found


def choose(found: list[Membership], wanted: UUID | None) -> Membership:
    """The membership a request acts under: the one it names, else the first.

    Raises MerchantNotFound, the same for a merchant of others as for one that does not exist.
    """
    for membership in found:
        if wanted is None or membership.id == wanted:
            return membership
    raise MerchantNotFound(param="X-Merchant-Id")


def require_writer(role: Role) -> None:
    """Raises ReadOnlyRole for a viewer."""
    if role == "viewer":
        raise ReadOnlyRole


def _first_name(user: User) -> str:
    # An address is shown to all later members: only what stands before the @.
    return (user.display_name or "").partition("@")[0].replace("\x00", "").strip()[:200] or "My shop"
