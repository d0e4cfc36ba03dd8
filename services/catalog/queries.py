"""Reading the catalogue: lists with filters and search, one product with its variants."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, union
from sqlalchemy.orm import Session

from services.core.errors import NotFound
from services.core.paging import Page, Slice, paginate
from services.models import Product, Variant


class ProductNotFound(NotFound):
    """There is no such product."""


@dataclass(frozen=True, slots=True)
class ProductFilter:
    """Which products are meant. None does not narrow. Prices and stock are those of one and the same variant."""

    q: str | None = None  # words of title, brand, category, tags (their beginnings suffice), or a whole SKU or barcode
    sku: str | None = None
    barcode: str | None = None
    brand: str | None = None
    category: str | None = None
    status: str | None = None
    source: str | None = None
    updated_after: datetime | None = None  # of the product or of one of its variants
    in_stock: bool | None = None  # True: some variant is known to be there; False: none is
    price_min: Decimal | None = None
    price_max: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A product in a list, with its variants added up."""

    product: Product
    variants: int
    price_min: Decimal | None
    price_max: Decimal | None
    currency: str | None  # None also where the variants' differ
    stock: int | None  # of the variants whose stock is known; None when that is none of them


def list_products(session: Session, matching: ProductFilter, page: Page, *, merchant_id: UUID) -> Slice[Listed]:
    """A page of products, newest first."""
    found: Slice[Product] = paginate(
        session, select_products(matching, merchant_id=merchant_id), id_column=Product.id, page=page
    )
    sums = _sums(session, [product.id for product in found.data], merchant_id=merchant_id)
    nothing = (0, None, None, None, None)
    return found.map(lambda product: Listed(product, *sums.get(product.id, nothing)))


def get_product(session: Session, id_: UUID) -> Product:
    """The product, if it is the merchant's. Raises ProductNotFound."""
    product = session.get(Product, id_)
    if product is None:
        raise ProductNotFound()
    return product


def variants_of(session: Session, product: Product) -> list[Variant]:
    """All its variants, in the order in which the source first named them."""
    own = select(Variant).where(Variant.merchant_id == product.merchant_id, Variant.product_id == product.id)
    return list(session.scalars(own.order_by(Variant.position, Variant.id)))


def select_products(matching: ProductFilter, *, merchant_id: UUID) -> Select[Product]:
    """The products that match, in no order."""
    # The merchant is said again although the policy says it: a constant lets the planner choose the index by itself.
    # The version is that of every product: it opens the index that lists are read from.
    statement = select(Product).where(Product.merchant_id == merchant_id, Product.version > 0)
    # Brand and category are words of the search too: its index finds them, and they need none of their own.
    for column, value in ((Product.brand, matching.brand), (Product.category, matching.category)):
        if value is not None:
            statement = statement.where(column == value)
            asked = _words(value, whole=True, merchant_id=merchant_id)
            if asked is not None:
                statement = statement.where(Product.search.op("@@")(asked))
    for column, value in (
        (Product.status, matching.status),
        (Product.source, matching.source),
    ):
        if value is not None:
            statement = statement.where(column == value)
    for condition in _of_variants(matching, merchant_id=merchant_id):
        statement = statement.where(condition)
    if matching.q is not None:
        statement = statement.where(Product.id.in_(_search(matching.q, merchant_id=merchant_id)))
    return statement


def _of_variants(matching: ProductFilter, *, merchant_id: UUID) -> list[ColumnElement[bool]]:
    own = select(Variant.id).where(Variant.merchant_id == merchant_id, Variant.product_id == Product.id)
    by_code = select(Variant.product_id).where(Variant.merchant_id == merchant_id)
    conditions: list[ColumnElement[bool]] = []
    if matching.sku is not None:
        conditions.append(Product.id.in_(by_code.where(Variant.sku == matching.sku)))
    if matching.barcode is not None:
        conditions.append(Product.id.in_(by_code.where(Variant.barcode == matching.barcode)))
    if matching.in_stock is False:
        conditions.append(~exists(own.where(Variant.stock > 0)))
    narrow = own
    if matching.in_stock:
        narrow = narrow.where(Variant.stock > 0)
    if matching.price_min is not None:
        narrow = narrow.where(Variant.price >= matching.price_min)
    if matching.price_max is not None:
        narrow = narrow.where(Variant.price <= matching.price_max)
    if narrow is not own:
        conditions.append(exists(narrow))
    if matching.updated_after is not None:
        later = exists(own.where(Variant.updated_at > matching.updated_after))
        conditions.append(or_(Product.updated_at > matching.updated_after, later))
    return conditions


def _search(q: str, *, merchant_id: UUID) -> Select[Any]:
    """The ids of products with these words or this code."""
    code = q.strip()
    by_code = select(Variant.product_id.label("id")).where(
        Variant.merchant_id == merchant_id, or_(Variant.sku == code, Variant.barcode == code)
    )
    asked = _words(q, whole=False, merchant_id=merchant_id)
    if asked is None:
        return by_code
    by_words = select(Product.id).where(Product.merchant_id == merchant_id, Product.search.op("@@")(asked))
    return select(union(by_words, by_code).subquery().c.id)


def _words(said: str, *, whole: bool, merchant_id: UUID) -> ColumnElement[Any] | None:
    """The words as a query of the merchant's part of the index, cut where `product_search` cuts; None without any.

    `whole`: the words themselves, else whatever begins with them.
    """
    words = [word for word in re.split(r"[\s./<-]+", said[:1000]) if any(map(str.isalnum, word))][:20]
    if not words:
        return None
    # Quoted, a word is text to the parser of queries, whatever signs are in it.
    quoted = ("'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in words)
    mine = f"m{str(merchant_id)[-12:]}"
    return func.to_tsquery("simple", " & ".join((mine, *(word if whole else f"{word}:*" for word in quoted))))


def _sums(
    session: Session, ids: Sequence[UUID], *, merchant_id: UUID
) -> dict[UUID, tuple[int, Decimal | None, Decimal | None, str | None, int | None]]:
    if not ids:
        return {}
    currencies = func.count(Variant.currency.distinct())
    rows = session.execute(
        select(
            Variant.product_id,
            func.count(),
            func.min(Variant.price),
            func.max(Variant.price),
            func.max(Variant.currency),
            func.sum(Variant.stock),
            currencies,
        )
        .where(Variant.merchant_id == merchant_id, Variant.product_id.in_(ids))
        .group_by(Variant.product_id)
    )
    return {
        row[0]: (row[1], row[2], row[3], row[4] if row[6] == 1 else None, None if row[5] is None else int(row[5]))
        for row in rows
    }
