"""Plans: what would change, why it is held, deciding about it, taking it back."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.deps import CallerDep, IdempotencyKey, PageDep, SessionDep
from api.money import shown
from services.catalog import changesets
from services.catalog.changesets import ChangesetFilter, Item, ItemFilter
from services.catalog.revert import revert
from services.core.paging import ListOut, Page
from services.models import Changeset

router = APIRouter(prefix="/changesets", tags=["changesets"])

SAMPLE = 20

State = Literal["planning", "planned", "awaiting_approval", "applying", "applied", "discarded", "failed"]
Kind = Literal["import", "edit", "revert"]
Op = Literal["create", "update", "delete"]
ItemState = Literal["planned", "applied", "conflict"]
Text = Annotated[str, Field(min_length=1, max_length=500)]


# -- What is answered ----------------------------------------------------------------------------------------------


class ChangeOut(BaseModel):
    """A field, as it was (or is, until the plan is applied) and as the plan makes it. Amounts are text."""

    model_config = ConfigDict(populate_by_name=True)

    field: str
    from_: Any = Field(alias="from")
    to: Any


def changes_of(changes: dict[str, list[Any]] | None) -> list[ChangeOut]:
    """The fields of an item, without those that only help a deleted row to come back."""
    said = (changes or {}).items()
    return [
        ChangeOut(field=name, from_=shown(name, before), to=shown(name, after))
        for name, (before, after) in said
        if name not in ("source", "version", "created_at", "position")
    ]


class ItemOut(BaseModel):
    """What a plan does to one product, or to one of its variants."""

    n: int
    op: Op
    state: ItemState = Field(description="`conflict`: the row had moved, or a revert keeps what was changed since.")
    product_id: UUID
    product_key: str
    variant_id: UUID | None = Field(description="Null: the product itself.")
    variant_key: str | None
    title: str | None
    sku: str | None
    line: int | None = Field(description="Of the feed.")
    base_version: int | None = Field(description="The row's version the plan was made for; null: it did not exist.")
    version: int | None = Field(description="The version applying it gave the row.")
    changes: list[ChangeOut] = Field(description="Empty for products out of a feed, whose rows hold the values.")

    @classmethod
    def of(cls, found: Item) -> Self:
        """The item in the words of the API."""
        own = {name: getattr(found.item, name) for name in cls.model_fields if hasattr(found.item, name)}
        return cls(**{**own, "title": found.title, "sku": found.sku, "changes": changes_of(found.item.changes)})


class ChangesetOut(BaseModel):
    """A plan at a glance."""

    id: UUID
    kind: Kind
    state: State
    source: str | None = Field(description="Null: a person.")
    import_id: UUID | None
    reverts: UUID | None = Field(description="The plan it takes back.")
    job_id: UUID | None = Field(description="The latest job that worked on it.")
    made_by: UUID | None = Field(description="The user, where a person made it.")
    note: str | None
    digest: str | None = Field(description="Name it to have the plan applied. Null while it is being made.")
    items: int
    applied: int
    conflicts: int
    counts: dict[str, Any] = Field(description="Products and variants to create, update, delete, left unchanged, …")
    fields: dict[str, int] = Field(description="In how many rows each field changes.")
    held: bool = Field(description="Whether a guard holds it.")
    created_at: AwareDatetime
    planned_at: AwareDatetime | None
    decided_at: AwareDatetime | None
    decided_by: UUID | None = Field(description="Who had it applied or discarded; null: its source's policy.")
    finished_at: AwareDatetime | None

    @classmethod
    def of(cls, changeset: Changeset, **more: Any) -> Self:
        """The row in the words of the API."""
        own = {name: getattr(changeset, name) for name in cls.model_fields if hasattr(changeset, name)}
        return cls(**own, held=any(verdict["held"] for verdict in changeset.guards), **more)


class LinksOut(BaseModel):
    """Where to go from here; what cannot be done now is null."""

    items: str
    apply: str | None
    discard: str | None
    revert: str | None
    job: str | None
    import_: str | None = Field(alias="import")
    reverts: str | None

    @classmethod
    def of(cls, changeset: Changeset) -> Self:
        """The addresses of a plan."""
        own = f"/api/v1/changesets/{changeset.id}"
        decidable = changeset.state in ("planned", "awaiting_approval", "applying")
        revertible = changeset.finished_at is not None and changeset.applied > 0
        return cls(
            items=f"{own}/items",
            apply=f"{own}/apply" if decidable else None,
            discard=f"{own}/discard" if decidable or changeset.state == "planning" else None,
            revert=f"{own}/revert" if revertible else None,
            job=f"/api/v1/jobs/{changeset.job_id}" if changeset.job_id else None,
            **{"import": f"/api/v1/bulk/operations/{changeset.import_id}" if changeset.import_id else None},
            reverts=f"/api/v1/changesets/{changeset.reverts}" if changeset.reverts else None,
        )


class ChangesetDetailOut(ChangesetOut):
    """A plan, with all there is to know before deciding about it."""

    money: dict[str, Any] = Field(description="Sums of prices and of stock before and after, and the largest moves.")
    guards: list[dict[str, Any]] = Field(description="What each guard measured, its threshold, and whether it holds.")
    reverted_by: list[UUID] = Field(description="Plans that take this one back.")
    sample: list[ItemOut] = Field(description=f"The first {SAMPLE} items.")
    links: LinksOut


def detail(session: SessionDep, changeset: Changeset) -> ChangesetDetailOut:
    """The plan with its first items."""
    sample = changesets.list_items(session, changeset, ItemFilter(), Page(limit=SAMPLE))
    return ChangesetDetailOut.of(
        changeset,
        reverted_by=changesets.reverts_of(session, changeset),
        sample=[ItemOut.of(item) for item in sample.data],
        links=LinksOut.of(changeset),
    )


class ApplyingOut(BaseModel):
    """A plan on its way into the catalogue."""

    changeset_id: UUID
    job_id: UUID
    status_url: str


# -- Looking -------------------------------------------------------------------------------------------------------


class ChangesetQuery(BaseModel):
    """Which plans are asked for."""

    state: State | None = None
    kind: Kind | None = None
    source: Text | None = None


class ItemQuery(BaseModel):
    """Which items are asked for."""

    op: Op | None = None
    state: ItemState | None = None
    field: Annotated[str, Field(pattern="^[a-z_]{1,40}$")] | None = Field(
        default=None, description="Updates that change it."
    )
    sku: Text | None = Field(default=None, description="Of the variant: its own, or the one it had or gets.")
    product_id: UUID | None = None


@router.get("")
def list_changesets(
    session: SessionDep, caller: CallerDep, page: PageDep, asked: Annotated[ChangesetQuery, Query()]
) -> ListOut[ChangesetOut]:
    """The merchant's plans, newest first."""
    matching = ChangesetFilter(**asked.model_dump())
    found = changesets.list_changesets(session, matching, page, merchant_id=caller.merchant_id).map(ChangesetOut.of)
    return ListOut[ChangesetOut](data=found.data, has_more=found.has_more, next=found.next)


@router.get("/{changeset_id}")
def get_changeset(changeset_id: UUID, session: SessionDep) -> ChangesetDetailOut:
    """One plan: what it comes to, what guards say, the first of its items."""
    return detail(session, changesets.get_changeset(session, changeset_id))


@router.get("/{changeset_id}/items")
def list_items(
    changeset_id: UUID, session: SessionDep, page: PageDep, asked: Annotated[ItemQuery, Query()]
) -> ListOut[ItemOut]:
    """What it does, row by row, in the order in which it is applied."""
    changeset = changesets.get_changeset(session, changeset_id)
    found = changesets.list_items(session, changeset, ItemFilter(**asked.model_dump()), page).map(ItemOut.of)
    return ListOut[ItemOut](data=found.data, has_more=found.has_more, next=found.next)


# -- Deciding ------------------------------------------------------------------------------------------------------


class ApplyIn(BaseModel):
    """That you have seen the plan, and which one."""

    model_config = ConfigDict(extra="forbid")

    digest: str = Field(min_length=1, max_length=200)
    accept_conflicts: bool = Field(default=False, description="Apply the rest, and leave rows that moved as they are.")


class RevertIn(BaseModel):
    """Whether to look at what would go back first, which is usual."""

    model_config = ConfigDict(extra="forbid")

    apply: bool = False
    note: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] | None = None


@router.post("/{changeset_id}/apply", status_code=202, response_model=ApplyingOut)
def apply_changeset(
    changeset_id: UUID, body: ApplyIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey
) -> Response:
    """Have the plan applied, or go on with one that was stopped.

    409 with its `state`, `digest` and what `moved` when it is not the plan you saw, or no longer fits the catalogue.
    """

    def make() -> ApplyingOut:
        job_id = changesets.approve(
            session,
            changeset_id,
            digest=body.digest,
            accept_conflicts=body.accept_conflicts,
            user_id=caller.user.id,
        )
        where = f"/api/v1/changesets/{changeset_id}"
        return ApplyingOut(changeset_id=changeset_id, job_id=job_id, status_url=where)

    return once(session, body, status=202, make=make)


@router.post("/{changeset_id}/discard", response_model=ChangesetDetailOut)
def discard_changeset(changeset_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Give the plan up. What of it was applied already stays, and can be reverted."""
    return once(
        session,
        {},
        status=200,
        make=lambda: detail(session, changesets.discard(session, changeset_id, user_id=caller.user.id)),
    )


@router.post("/{changeset_id}/revert", status_code=201, response_model=ChangesetDetailOut)
def revert_changeset(
    changeset_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey, body: RevertIn | None = None
) -> Response:
    """Make the plan that takes this one back, to be looked at and applied; with `apply`, apply it at once.

    A large one is made by a job: its state is then `planning`.
    """
    asked = body or RevertIn()

    def make() -> ChangesetDetailOut:
        made = revert(session, changeset_id, apply=asked.apply, note=asked.note, user_id=caller.user.id)
        return detail(session, made)

    return once(session, asked, status=201, make=make)
