"""How the database means to do what the application asks of it, told before it is done."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from services.core.db import get_engine

OWNERS = {"merchant_id", "connection_id", "InitPlan"}  # which is how policies name the merchant
LARGE = {
    *("offers", "offer_variants", "offer_links", "sync_seen", "products", "variants"),
    *("changeset_items", "feed_prints"),
}
_PLANNED = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b")
_ABOUT = re.compile(rf"\b({'|'.join(sorted(LARGE))})\b")
_SAID = ("Node Type", "Relation Name", "Index Name", "Index Cond", "Filter")
_COMPARED = re.compile(r"\(+(?:\w+\.)?(\w+)")


@contextmanager
def repeated_scans() -> Iterator[dict[str, str]]:
    """Statements that would go through a large table, or all of an owner's rows in it, for each of other rows: with
    that part of their plan. Each is looked at once, before it is first run.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()

    def look(connection: Any, _cursor: Any, statement: str, given: Any, _context: Any, many: bool) -> None:
        if many or statement in seen or not (_PLANNED.match(statement) and _ABOUT.search(statement)):
            return
        seen.add(statement)
        explained = connection.connection.driver_connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", given)
        ((plans,),) = explained.fetchall()
        for node in _repeated(plans[0]["Plan"], again=False):
            if not _by_key(node):
                found[statement] = ", ".join(f"{name}: {node[name]}" for name in _SAID if name in node)

    event.listen(get_engine(), "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(get_engine(), "before_cursor_execute", look)


def _repeated(node: dict[str, Any], *, again: bool) -> Iterator[dict[str, Any]]:
    """The scans that are done for each row of something else."""
    if again and node["Node Type"] != "Tid Scan" and node.get("Relation Name") in LARGE:
        yield node
    for part in node.get("Plans", ()):
        how = part["Parent Relationship"]
        once = how == "InitPlan" or f"hashed {part.get('Subplan Name')}" in str(node)
        anew = how == "SubPlan" or (how == "Inner" and node["Node Type"] == "Nested Loop")
        yield from _repeated(part, again=not once and (again or anew))


def _by_key(scan: dict[str, Any]) -> bool:
    """Whether more than the owner is looked up."""
    parts = [scan, *scan.get("Plans", ())]  # a bitmap's condition is its index's
    compared = {name for part in parts for name in _COMPARED.findall(part.get("Index Cond", ""))}
    return bool(compared - OWNERS)
