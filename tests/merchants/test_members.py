"""A first visit makes a merchant, once; users see their own memberships and no others."""

import threading
import uuid

import pytest
from sqlalchemy import select, text

from services.core.db import transaction
from services.core.errors import Forbidden
from services.merchants.members import (
    MerchantNotFound,
    NoMembership,
    choose,
    find_or_create_merchant,
    memberships,
    require_writer,
)
from services.merchants.tokens import User
from services.models import Member, Merchant
from tests.conftest import join_merchant, make_merchant


def user(**claims) -> User:
    id_ = uuid.uuid4()
    return User(id=id_, email="anna@example.com", claims=claims)


def visit(who: User):
    with transaction(user_id=who.id) as session:
        return find_or_create_merchant(session, who)


def test_a_first_visit_makes_a_merchant_and_a_second_finds_it():
    anna = user()
    (made,) = visit(anna)
    assert (made.name, made.role) == ("anna", "owner")
    assert visit(anna) == [made]


@pytest.mark.parametrize(
    ("metadata", "name"),
    [({"name": "Anna's Shop"}, "Anna's Shop"), ({"name": 7}, "anna"), ({"full_name": "A\x00B"}, "AB"), ("x", "anna")],
)
def test_the_first_name_is_what_the_user_says_if_it_is_a_name(metadata, name):
    assert visit(user(user_metadata=metadata))[0].name == name


def test_a_crowd_of_first_visits_makes_one_merchant():
    anna, found, failed = user(), [], []
    barrier = threading.Barrier(8)

    def go():
        barrier.wait()
        try:
            found.append(visit(anna))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len({memberships[0].id for memberships in found}) == 1
    with transaction(merchant_id=found[0][0].id) as session:
        assert len(session.scalars(select(Member)).all()) == 1


def test_two_transactions_at_once_the_second_waits_and_finds_the_firsts():
    anna, second = user(), []
    with transaction(user_id=anna.id) as session:
        (first,) = find_or_create_merchant(session, anna)
        thread = threading.Thread(target=lambda: second.extend(visit(anna)))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(5)
    assert [row.id for row in second] == [first.id]


def test_users_see_their_own_memberships_only():
    anna, ben = user(), user()
    (hers,), (his,) = visit(anna), visit(ben)
    join_merchant(hers.id, ben.id, "viewer")
    assert [(row.id, row.role) for row in visit(ben)] == [(his.id, "owner"), (hers.id, "viewer")]
    with transaction(user_id=anna.id) as session:
        assert memberships(session, user_id=ben.id) == []
        assert session.scalars(select(Merchant.id)).all() == [hers.id]


def test_a_member_of_others_needs_no_merchant_of_their_own():
    anna, shop = user(), make_merchant()
    join_merchant(shop, anna.id, "staff")
    assert [row.id for row in visit(anna)] == [shop]


def test_a_founder_who_was_removed_gets_no_second_merchant():
    anna = user()
    (made,) = visit(anna)
    with transaction(merchant_id=made.id) as session:
        session.execute(text("DELETE FROM members"))
    with pytest.raises(NoMembership):
        visit(anna)


def test_choosing():
    anna = user()
    found = visit(anna)
    assert choose(found, None) == choose(found, found[0].id) == found[0]
    with pytest.raises(MerchantNotFound):
        choose(found, make_merchant())


def test_viewers_change_nothing():
    require_writer("owner")
    require_writer("staff")
    with pytest.raises(Forbidden):
        require_writer("viewer")
