"""Plans made by hand, for judging: a catalogue, the drafts of a feed, and what would change, as rows."""

import uuid
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from services.catalog.guards import judge_plan
from services.core.clock import now
from services.core.ids import new_id
from services.models import Changeset, ChangesetItem, Import, ImportDraft, Product, Source, Variant

SOURCE = "shop"


class Catalogue:
    """A merchant's products of one source, each with one variant, and plans for them."""

    def __init__(self, session: Session, merchant: uuid.UUID, *, source: str = SOURCE) -> None:
        self.session = session
        self.merchant = merchant
        self.source = source
        self.variants: list[dict[str, Any]] = []

    def fill(self, count: int, **fields: Any) -> None:
        """That many more products; fields of a variant (or `status`) that are not the usual ones."""
        status = fields.pop("status", "active")
        products, variants = [], []
        for n in range(len(self.variants), len(self.variants) + count):
            products.append(
                {"id": new_id(), "merchant_id": self.merchant, "source": self.source, "key": f"P{n:06}",
                 "title": f"Thing {n}", "status": status}
            )  # fmt: skip
            usual = {"price": 10, "cost": None, "currency": "EUR", "stock": 5, "sku": f"S{n}"}
            variants.append(
                {"id": new_id(), "merchant_id": self.merchant, "product_id": products[-1]["id"], "key": f"V{n}",
                 "position": 1, **usual, **fields}
            )  # fmt: skip
        self.session.execute(insert(Product), products)
        self.session.execute(insert(Variant), variants)
        self.variants += variants

    def plan(
        self,
        changes: dict[int, dict[str, list[Any]]] | None = None,
        *,
        missing: dict[int, dict[str, list[Any]]] | None = None,
        feed: list[dict[str, Any]] | None = None,
        judged: bool = True,
        **settings: Any,
    ) -> Changeset:
        """A plan with these changes (variant number → field → [from, to]) out of a feed, and what guards say of it.

        `feed` are drafts; None is no feed: an edit. `missing` changes what the feed has no line for. `settings`:
        errors, codes, and thresholds.
        """
        thresholds = settings.pop("thresholds", {})
        import_ = None if feed is None else self.import_of(feed, **settings)
        changeset = Changeset(
            merchant_id=self.merchant,
            kind="edit" if import_ is None else "import",
            source=None if import_ is None else self.source,
            import_id=None if import_ is None else import_.id,
        )
        self.session.add(changeset)
        self.session.flush()
        items = [self._item(n, change, line=n + 2) for n, change in (changes or {}).items()]
        items += [self._item(n, change, line=None) for n, change in (missing or {}).items()]
        rows = [{**item, "changeset_id": changeset.id, "n": n + 1} for n, item in enumerate(items)]
        if rows:
            self.session.execute(insert(ChangesetItem), rows)
        changeset.items = len(rows)
        self._sum_up(changeset, feed or [], changes or {}, missing or {})
        if judged:
            judge_plan(self.session, changeset, thresholds=thresholds)
        return changeset

    def _sum_up(
        self, changeset: Changeset, feed: list[dict[str, Any]], changes: dict[int, Any], missing: dict[int, Any]
    ) -> None:
        """The counts, as planning leaves them."""
        keys = {draft["product_key"] for draft in feed}
        known = {f"P{n:06}" for n in range(len(self.variants))}
        changed = sum("status" in change for change in changes.values())
        changeset.counts = {
            "products": {
                "create": len(keys - known), "update": changed + sum("status" in each for each in missing.values()),
                "unchanged": len(keys & known) - changed, "missing": len(known - keys),
            },
            "variants": {"create": len(keys - known), "unchanged": 0, "update": 0},
        }  # fmt: skip

    def applied(self, changeset: Changeset) -> Changeset:
        """As if it had been applied: the catalogue stays, its verdicts are what later plans look back on."""
        changeset.state, changeset.finished_at = "applied", now()
        self.session.flush()
        return changeset

    def feed(self, count: int | None = None, *, first: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Drafts of that many of the products, as they are in the catalogue but for these fields."""
        count = len(self.variants) if count is None else count
        own = ("sku", "price", "cost", "currency", "stock")
        drafts = []
        for n in range(first, first + count):
            known = self.variants[n] if n < len(self.variants) else {"price": 10, "currency": "EUR", "stock": 5}
            said = {name: known.get(name) for name in own}
            drafts.append(
                {
                    "product_key": f"P{n:06}",
                    "variant_key": f"V{n}",
                    "line": n + 2,
                    "title": f"Thing {n}",
                    **said,
                    **fields,
                }
            )
        return drafts

    def import_of(self, feed: list[dict[str, Any]], *, errors: int = 0, codes: dict[str, int] | None = None) -> Import:
        """An import with these drafts staged."""
        import_ = Import(
            id=new_id(), merchant_id=self.merchant, job_id=new_id(), source=self.source, rows=len(feed) + errors,
            staged_rows=len(feed), errors=errors, error_codes=codes or {},
        )  # fmt: skip
        self.session.add(import_)
        self.session.flush()
        own = {"merchant_id": self.merchant, "import_id": import_.id}
        if feed:
            self.session.execute(insert(ImportDraft), [{**own, **draft} for draft in feed])
        return import_

    def policy(self, **settings: Any) -> Source:
        """The source's own settings."""
        source = Source(merchant_id=self.merchant, name=self.source, **settings)
        self.session.add(source)
        self.session.flush()
        return source

    def _item(self, n: int, changes: dict[str, list[Any]], *, line: int | None) -> dict[str, Any]:
        variant = self.variants[n]
        of_product = "status" in changes
        return {
            "merchant_id": self.merchant, "op": "update", "product_key": f"P{n:06}",
            "variant_key": None if of_product else variant["key"], "product_id": variant["product_id"],
            "variant_id": None if of_product else variant["id"], "base_version": 1, "line": line, "changes": changes,
        }  # fmt: skip


def verdicts(changeset: Changeset) -> dict[str, dict[str, Any]]:
    """What each guard says."""
    return {verdict["guard"]: verdict for verdict in changeset.guards}


def held(changeset: Changeset) -> set[str]:
    """The guards that hold the plan."""
    return {verdict["guard"] for verdict in changeset.guards if verdict["held"]}
