"""What may be said of products by hand: bodies of POST and PATCH /products and of price updates."""

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import Header
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from services.catalog.prices import PriceChange, PriceField, PriceTargets, Rounding
from services.catalog.queries import ProductFilter
from services.core.errors import Invalid
from services.formats.numbers import currency_code

MOST_VARIANTS = 500  # of one product, in one request
MOST_NAMED = 1_000  # products or variants, in one price update


class VersionUnreadable(Invalid):
    """If-Match takes the version of the product, such as "3"."""


class VersionContradicts(Invalid):
    """If-Match and `version` name different versions."""


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("a NUL character cannot be stored")
    return value


def _known_currency(value: str) -> str:
    if len(value) != 3 or currency_code(value) is None:
        raise ValueError("is not an ISO 4217 currency code")
    return value.upper()


def _web_address(value: str) -> str:
    if not re.match(r"https?://[^\s/]", value) or re.search(r"\s", value):
        raise ValueError("is not an http(s) address")
    return value


def _no_comma(value: str) -> str:
    if "," in value:
        raise ValueError("a tag has no comma in it")
    return value


def _once_each(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


_Storable = AfterValidator(_storable)
Code = Annotated[str, Field(min_length=1, max_length=500), _Storable]  # as long as feeds may have them
Line = Annotated[str, Field(min_length=1, max_length=2_000), _Storable]
Body = Annotated[str, Field(max_length=500_000), _Storable]
Address = Annotated[str, Field(max_length=2_048), _Storable, AfterValidator(_web_address)]
Tag = Annotated[str, Field(min_length=1, max_length=255), _Storable, AfterValidator(_no_comma)]
Tags = Annotated[list[Tag], Field(max_length=250), AfterValidator(_once_each)]
Images = Annotated[list[Address], Field(max_length=250), AfterValidator(_once_each)]
OptionNames = Annotated[list[Code], Field(max_length=3)]
Options = Annotated[dict[Code, Code], Field(max_length=3)]
Amount = Annotated[Decimal, Field(ge=0, lt=10**12, max_digits=18, decimal_places=6)]
Currency = Annotated[str, AfterValidator(_known_currency)]
Status = Literal["active", "draft", "archived"]
Stock = Annotated[int, Field(ge=-(10**9), le=10**9)]
Grams = Annotated[int, Field(ge=0, le=10**9)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]


class _Said(BaseModel):
    """Fields that may be left out; those of `required` may not be null."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    def said(self) -> dict[str, Any]:
        """What was said, and nothing of what was not."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


def _not_null(cls: type[BaseModel], value: object) -> object:
    if value is None:
        raise ValueError("may be left out, but not null")
    return value


class VariantFields(_Said):
    """What can be said of a variant."""

    sku: Code | None = None
    barcode: Code | None = None
    options: Options | None = Field(default=None, description="Name → value.")
    price: Amount | None = None
    compare_at_price: Amount | None = None
    cost: Amount | None = None
    currency: Currency | None = Field(default=None, description="ISO 4217.")
    stock: Stock | None = None
    weight_grams: Grams | None = None
    image_url: Address | None = None

    _options = field_validator("options")(classmethod(_not_null))


class ProductFields(_Said):
    """What can be said of a product."""

    title: Line | None = None
    description: Body | None = None
    brand: Code | None = None
    category: Line | None = None
    tags: Tags | None = None
    status: Status | None = None
    images: Images | None = Field(default=None, description="The first is the main one.")
    option_names: OptionNames | None = None

    _lists = field_validator("tags", "status", "images", "option_names")(classmethod(_not_null))


class VariantPatch(VariantFields):
    """What to change of a variant; what is left out stays. Without an `id` it is a new one."""

    id: UUID | None = None
    version: Version | None = Field(default=None, description="The version you have seen: 409 if it is another by now.")
    remove: bool = Field(default=False, description="Take it off the product.")
    key: Code | None = Field(default=None, description="Of a new one; without it, its SKU or its place.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        said = self.model_fields_set
        if self.id is None and said & {"version", "remove"}:
            raise ValueError("an `id` says which variant; without one it is new")
        if self.id is not None and "key" in said:
            raise ValueError("a variant keeps its `key`")
        if self.remove and said - {"id", "version", "remove"}:
            raise ValueError("what is removed has nothing else said of it")
        return self


class ProductPatch(ProductFields):
    """What to change of a product; what is left out stays."""

    version: Version | None = Field(default=None, description="The version you have seen: 409 if it is another by now.")
    variants: list[VariantPatch] = Field(default=[], max_length=MOST_VARIANTS)

    def said(self) -> dict[str, Any]:
        """The product's own fields that were said."""
        return {name: value for name, value in super().said().items() if name not in ("version", "variants")}


class VariantIn(VariantFields):
    """A new variant."""

    key: Code | None = Field(default=None, description="Tells it from the others; without it, its SKU or its place.")


class ProductIn(ProductFields):
    """A new product."""

    title: Line
    key: Code | None = Field(default=None, description="Unique among those made by hand; without it, the first SKU.")
    variants: list[VariantIn] = Field(min_length=1, max_length=MOST_VARIANTS)

    def said(self) -> dict[str, Any]:
        """The product's own fields that were said."""
        return {name: value for name, value in super().said().items() if name != "variants"}


class ProductFilterIn(BaseModel):
    """Which products are meant, as in the list; SKU, barcode, price and stock are those of the variants meant."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    q: Code | None = None
    sku: Code | None = None
    barcode: Code | None = None
    brand: Code | None = None
    category: Line | None = None
    status: Status | None = None
    source: Code | None = None
    updated_after: AwareDatetime | None = None
    in_stock: bool | None = None
    price_min: Amount | None = None
    price_max: Amount | None = None


class RoundingIn(BaseModel):
    """Where prices end: on multiples of `step`, plus `ending`. {"ending": "0.99"} is 4.99, 5.99 …"""

    model_config = ConfigDict(extra="forbid")

    step: Annotated[Decimal, Field(gt=0, le=10**6, max_digits=12, decimal_places=4)] = Decimal(1)
    ending: Annotated[Decimal, Field(ge=0, lt=10**6, max_digits=12, decimal_places=4)] = Decimal(0)
    mode: Literal["nearest", "up", "down"] = "nearest"

    @field_validator("ending")
    @classmethod
    def _within_step(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        if value >= info.data.get("step", value + 1):
            raise ValueError("is to be less than `step`")
        return value


_TARGETS = {"filter", "product_ids", "variant_ids"}


class PriceUpdateIn(BaseModel):
    """Whose prices are to change, and how. Either `filter`, `product_ids`, `variant_ids`, or `all`."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    filter: ProductFilterIn | None = None
    product_ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_NAMED)] | None = None
    variant_ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_NAMED)] | None = None
    all: bool = Field(default=False, validate_default=True, description="The whole catalogue is meant.")
    currency: Currency | None = Field(default=None, description="Only prices in this currency.")
    field: PriceField = "price"
    op: Literal["set", "add", "percent", "multiply", "clear"] = Field(
        description="To `value`; by `value` (which may be negative); by so many percent; times `value`; to nothing."
    )
    value: Annotated[Decimal, Field(gt=-(10**12), lt=10**12, max_digits=18, decimal_places=6)] | None = Field(
        default=None, validate_default=True
    )
    base: Literal["price", "compare_at_price", "cost"] | None = Field(
        default=None, description="What `add`, `percent` and `multiply` start from; by default the field itself."
    )
    rounding: RoundingIn | None = Field(default=None, description="By default to cents.")
    apply: bool = Field(default=False, description="Apply it at once, unless a guard holds it.")
    note: Annotated[str, Field(max_length=500), _Storable] | None = None

    @field_validator("filter")
    @classmethod
    def _not_empty(cls, value: ProductFilterIn | None) -> ProductFilterIn | None:
        if value is not None and not value.model_dump(exclude_none=True):
            raise ValueError("is empty; say `all` for the whole catalogue")
        return value

    @field_validator("all")
    @classmethod
    def _one_of_them(cls, value: bool, info: ValidationInfo) -> bool:
        named = [name for name in ("filter", "product_ids", "variant_ids") if info.data.get(name) is not None]
        if len(named) + value > 1 or (not named and not value and info.data.keys() >= _TARGETS):
            raise ValueError("say whose prices: one of `filter`, `product_ids`, `variant_ids` and `all`")
        return value

    @field_validator("op")
    @classmethod
    def _fits_field(cls, value: str, info: ValidationInfo) -> str:
        if value == "clear" and info.data.get("field") == "price":
            raise ValueError("`clear` is for compare_at_price only")
        return value

    @field_validator("value")
    @classmethod
    def _fits_op(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        op = info.data.get("op")
        if op is not None and (value is None) != (op == "clear"):
            raise ValueError("is needed, except to clear")
        if value is not None and op in ("set", "multiply") and value < 0:
            raise ValueError("is to be 0 or more")
        if value is not None and op == "percent" and value <= -100:
            raise ValueError("is to be more than -100")
        return value

    def targets(self) -> PriceTargets:
        """Whose prices."""
        asked = {} if self.filter is None else self.filter.model_dump()
        return PriceTargets(
            matching=ProductFilter(**asked),
            product_ids=None if self.product_ids is None else tuple(self.product_ids),
            variant_ids=None if self.variant_ids is None else tuple(self.variant_ids),
            currency=self.currency,
        )

    def change(self) -> PriceChange:
        """How."""
        return PriceChange(
            field=self.field,
            op=self.op,
            value=self.value,
            base=self.base,
            rounding=None if self.rounding is None else Rounding(**self.rounding.model_dump()),
        )


IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=50, description='The version you have seen, such as "3".')
]


def version_asked(version: int | None, if_match: str | None) -> int | None:
    """The version the caller has seen, from the body or the header. Raises VersionUnreadable, VersionContradicts."""
    if if_match is None or if_match.strip() == "*":
        return version
    found = re.fullmatch(r'(?:W/)?"?([0-9]{1,9})"?', if_match.strip())
    if found is None:
        raise VersionUnreadable(param="If-Match")
    if version not in (None, int(found[1])):
        raise VersionContradicts(param="If-Match")
    return int(found[1])
