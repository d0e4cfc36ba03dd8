"""The history of a product in the words of the API."""

from typing import Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.changesets import ChangeOut, Kind, Op, changes_of
from api.money import shown
from services.catalog.history import By, Change, FieldThen, RowThen, Then
from services.core.paging import MAX_LIMIT, Slice


class HistoryQuery(BaseModel):
    """Which part of a product's history is asked for."""

    at: AwareDatetime | None = Field(default=None, description="What it was at this moment, instead of a list.")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Changes per page.")
    after: str | None = Field(default=None, max_length=200, description="The `next` of the page before.")


class ByOut(BaseModel):
    """Which plan it was, and on whose word."""

    model_config = ConfigDict(from_attributes=True)

    changeset_id: UUID
    kind: Kind
    op: Op
    source: str | None
    import_id: UUID | None
    line: int | None = Field(description="Of the feed.")
    user_id: UUID | None = Field(description="Who made the plan, or approved it.")


class FieldThenOut(BaseModel):
    """What a field was, since when, and by whom; `by` null: since before anything was recorded."""

    value: Any
    since: AwareDatetime | None
    by: ByOut | None

    @classmethod
    def of(cls, name: str, then: FieldThen) -> Self:
        """The field in the words of the API."""
        return cls(value=shown(name, then.value), since=then.since, by=_by(then.by))


class VariantThenOut(BaseModel):
    """A variant as it was."""

    id: UUID
    key: str
    fields: dict[str, FieldThenOut]

    @classmethod
    def of(cls, then: RowThen) -> Self:
        """The variant in the words of the API."""
        return cls(id=then.id, key=then.key, fields=_fields(then))


class StateOut(BaseModel):
    """A product as it was at a moment."""

    id: UUID
    at: AwareDatetime
    existed: bool
    key: str | None
    fields: dict[str, FieldThenOut]
    variants: list[VariantThenOut]

    @classmethod
    def of(cls, id_: UUID, then: Then) -> Self:
        """The state in the words of the API."""
        if then.product is None:
            return cls(id=id_, at=then.at, existed=False, key=None, fields={}, variants=[])
        variants = [VariantThenOut.of(variant) for variant in then.variants]
        own = _fields(then.product)
        return cls(id=id_, at=then.at, existed=True, key=then.product.key, fields=own, variants=variants)


class VariantMadeOut(BaseModel):
    """A variant that came with its product, out of a feed."""

    id: UUID
    key: str
    changes: list[ChangeOut]


class HistoryEntryOut(BaseModel):
    """What one plan changed of a product, or of one of its variants."""

    at: AwareDatetime
    variant_id: UUID | None = Field(description="Null: the product itself.")
    variant_key: str | None
    changes: list[ChangeOut]
    variants: list[VariantMadeOut] = Field(description="Those that came with the product, out of a feed.")
    by: ByOut

    @classmethod
    def of(cls, change: Change) -> Self:
        """The change in the words of the API."""
        return cls(
            at=change.at,
            variant_id=change.variant_id,
            variant_key=change.variant_key,
            changes=changes_of(change.changes),
            variants=[VariantMadeOut(id=row.id, key=row.key, changes=_made(row)) for row in change.variants],
            by=ByOut.model_validate(change.by),
        )


class HistoryOut(BaseModel):
    """A page of a product's history. Ask for the next one with `?after=<next>`."""

    data: list[HistoryEntryOut]
    has_more: bool
    next: str | None

    @classmethod
    def of(cls, found: Slice[Change]) -> Self:
        """The page in the words of the API."""
        page = found.map(HistoryEntryOut.of)
        return cls(data=page.data, has_more=page.has_more, next=page.next)


def _by(by: By | None) -> ByOut | None:
    return None if by is None else ByOut.model_validate(by)


def _fields(row: RowThen) -> dict[str, FieldThenOut]:
    return {name: FieldThenOut.of(name, then) for name, then in row.fields.items()}


def _made(row: RowThen) -> list[ChangeOut]:
    return changes_of({name: [None, then.value] for name, then in row.fields.items() if then.value is not None})
