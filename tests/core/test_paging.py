"""Pages of a list: complete, newest first, stable while rows are added, deaf to invented cursors."""

import uuid

import pytest
from sqlalchemy import select

from services.core.clock import now
from services.core.ids import new_id
from services.core.paging import InvalidCursor, ListOut, Page, decode_cursor, encode_cursor, paginate
from services.models import Schedule


def add(session, merchant, count):
    """Rows to list; returns their ids, oldest first."""
    ids = [new_id() for _ in range(count)]
    for id_ in ids:
        fields = {"kind": "k", "args": {}, "interval_seconds": 60, "next_fire_at": now()}
        session.add(Schedule(id=id_, merchant_id=merchant, name=str(id_), **fields))
    session.flush()
    return ids


def walk(session, statement, *, limit):
    """All pages."""
    after, pages = None, []
    while True:
        found = paginate(session, statement, id_column=Schedule.id, page=Page(limit, after))
        pages.append(found)
        if not found.has_more:
            return pages
        after = decode_cursor(found.next)


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])])
def test_every_row_comes_once_newest_first(session, merchant, count, sizes):
    ids = add(session, merchant, count)
    pages = walk(session, select(Schedule), limit=3)
    assert [len(page.data) for page in pages] == sizes
    assert [row.id for page in pages for row in page.data] == ids[::-1]


def test_rows_added_meanwhile_do_not_shift_the_pages(session, merchant):
    ids = add(session, merchant, 4)
    first = paginate(session, select(Schedule), id_column=Schedule.id, page=Page(2))
    add(session, merchant, 3)
    second = paginate(session, select(Schedule), id_column=Schedule.id, page=Page(2, decode_cursor(first.next)))
    assert [row.id for row in first.data + second.data] == ids[::-1]
    assert not second.has_more


def test_selected_columns_become_rows_with_names(session, merchant):
    add(session, merchant, 2)
    found = paginate(session, select(Schedule.id, Schedule.name), id_column=Schedule.id, page=Page(1))
    assert found.data[0].name == str(found.data[0].id)
    shown = ListOut[str].model_validate(found.map(lambda row: row.name), from_attributes=True)
    assert shown.model_dump() == {"data": [found.data[0].name], "has_more": True, "next": found.next}


def test_cursors_are_opaque_and_checked():
    id_ = uuid.uuid4()
    assert decode_cursor(encode_cursor(id_)) == id_
    for wrong in ("", "x", str(id_), "!" * 22, encode_cursor(id_)[:-2], "é" * 22, "A" * 200):
        with pytest.raises(InvalidCursor):
            decode_cursor(wrong)
