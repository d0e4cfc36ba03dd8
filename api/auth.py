"""Who am I, and for which merchants may I act?"""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from api.deps import CallerDep
from services.merchants.members import Role

router = APIRouter(prefix="/auth", tags=["auth"])


class MerchantOut(BaseModel):
    """A merchant you belong to."""

    id: UUID
    name: str
    role: Role


class MeOut(BaseModel):
    """You."""

    user_id: UUID
    email: str | None
    merchants: list[MerchantOut]


@router.get("/me")
def me(caller: CallerDep) -> MeOut:
    """The caller and their merchants, the one they act for by default first. A first visit makes a merchant."""
    return MeOut(
        user_id=caller.user.id,
        email=caller.user.email,
        merchants=[MerchantOut.model_validate(merchant, from_attributes=True) for merchant in caller.merchants],
    )
