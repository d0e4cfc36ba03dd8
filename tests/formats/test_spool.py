"""What is kept between two readings of a tree."""

import io

import pytest

from services.formats import read, spool

VALUES = [[({"sku": ["1"], "größe": ["S", "M"]}, None)], [], [({}, "key"), ({"a.b": ["\0 \udcff 7"]}, "")]]


def test_what_was_put_in_comes_out_for_any_number_of_readers_at_once() -> None:
    kept = spool.Spool()
    assert kept.done() == 1.0
    assert all(kept.add(value) for value in VALUES * 200)
    first, second = iter(kept), iter(kept)
    assert [next(first), next(second), next(first), next(second)] == [VALUES[0], VALUES[0], VALUES[1], VALUES[1]]
    assert 0 < kept.done() < 1
    assert list(second) == (VALUES * 200)[2:]
    assert list(first) == (VALUES * 200)[2:]
    assert kept.done() == 1.0


@pytest.mark.parametrize("largest", [0, 500])
def test_a_tree_without_room_is_taken_apart_twice(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    items = "".join(f"<p><sku>S{n}</sku><name>N{n}</name><price>{n}.50</price></p>" for n in range(1, 40))
    document = io.BytesIO(f"<l>{items}</l>".encode())
    expected = list(read.read(document).records)
    assert len(expected) == 39
    monkeypatch.setattr(spool, "LARGEST", largest)
    assert list(read.read(document).records) == expected
