"""An intent in any order of events, against the sandbox: what the supplier truly has is never more than was meant."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from services.core.db import transaction
from services.core.errors import ShopOptiError
from services.orders.incoming.cancel import cancel_order
from tests import inline
from tests.examples import examples
from tests.orders.selling import Shop
from tests.orders.test_placing import FAULTS, sell_out
from tests.orders.test_sent_once import Killed, Steps, Watched, steps  # noqa: F401  # fixture
from tests.suppliers.subjects import SUBJECTS

ENDED = ("succeeded", "failed", "cancelled")


def machine(world, watched: Steps, supplier: str) -> type[RuleBasedStateMachine]:
    """The machine for one supplier's sandbox."""

    class Orders(RuleBasedStateMachine):
        """Orders of one shop, asked for, worked on under faults, killed, cancelled, sold out and back in stock."""

        orders = Bundle("orders")
        jobs = Bundle("jobs")
        dead = Bundle("dead")

        def __init__(self) -> None:
            super().__init__()
            watched.fatal, watched.inside = None, True
            world.ask("DELETE", "faults")
            self.shop = Shop(world, supplier=supplier, things=1)
            self.asked: set = set()

        @rule(target=orders, pieces=st.integers(1, 3))
        def comes_in(self, pieces):
            return self.shop.order(pieces)

        @rule(target=jobs, order_id=orders)
        def asked_for(self, order_id):
            try:
                job_id = self.shop.ask(order_id)
            except ShopOptiError:
                return multiple()
            self.asked.add(order_id)
            return job_id

        @rule(
            target=dead, job_id=jobs, mishap=st.none() | st.sampled_from(FAULTS), fatal=st.none() | st.integers(1, 22)
        )
        def worked_on(self, job_id, mishap, fatal):
            if inline.state_of(job_id)["state"] not in ("queued", "scheduled"):
                return multiple()
            subject = SUBJECTS[supplier]
            if mishap is not None:
                variant = {"variant": subject.soft[int(mishap["variant"])]} if "variant" in mishap else {}
                world.ask("POST", "faults", {**mishap, **variant, "route": subject.creates, "count": 1})
            watched.taken, watched.fatal = 0, fatal
            try:
                inline.work(job_id, make_run=lambda claim: Watched(claim, watched))
            except Killed:
                return job_id
            finally:
                watched.fatal = None
                world.ask("DELETE", "faults")
            return multiple()

        @rule(job_id=consumes(dead))
        def rescued(self, job_id):
            inline.lose(job_id)

        @rule(seconds=st.sampled_from([5, 30, 200]))
        def time_passes(self, seconds):
            self.shop.later(seconds)

        @rule(order_id=orders)
        def cancelled(self, order_id):
            try:
                with transaction(merchant_id=self.shop.merchant) as session:
                    cancel_order(session, order_id, merchant_id=self.shop.merchant)
            except ShopOptiError:
                pass

        @rule(left=st.sampled_from([0, 1, 100]))
        def stock_changes(self, left):
            sell_out(self.shop, self.shop.goods[0], left=left)

        @invariant()
        def the_supplier_has_what_was_meant_and_no_more(self):
            there: dict[str, int] = {}
            for one in self.shop.bought():
                reference = one["internal_reference" if supplier == "bigbuy" else "out_order_id"]
                there[reference] = there.get(reference, 0) + 1
            for row in self.shop.rows("SELECT reference, state, attempts FROM intents"):
                count = there.get(row["reference"], 0)
                assert count <= 1, row
                assert row["state"] != "placed" or count == 1, row
                assert row["state"] not in ("refused", "cancelled") or count == 0, row
                assert row["attempts"] or count == 0, row

        def teardown(self) -> None:
            """In the end everything that was asked for is there once, or known not to be."""
            sell_out(self.shop, self.shop.goods[0], left=1000)
            for order_id in self.asked:
                for row in self.shop.rows("SELECT job_id FROM orders WHERE id = :id", id=order_id):
                    if inline.state_of(row["job_id"])["state"] == "running":
                        inline.lose(row["job_id"])
                    self.shop.later()
                    self.shop.work(row["job_id"], times=20)
                standings = self.shop.standings(order_id)
                open_ = [at for at in standings if at.state in ("planned", "sending", "unknown")]
                # Only AliExpress leaves something to a person: a refusal after a lost answer.
                assert all(supplier == "aliexpress" and at.code == "outcome_unknown" for at in open_), open_
                placed = [at for at in standings if at.state == "placed"]
                assert len(placed) <= 1, standings
            self.the_supplier_has_what_was_meant_and_no_more()

    return Orders


def check(world, watched, supplier):
    run_machine(
        machine(world, watched, supplier),
        settings=settings(
            max_examples=examples(6),
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_orders_at_bigbuy(world, steps):  # noqa: F811
    check(world, steps, "bigbuy")


def test_orders_at_aliexpress(world, steps):  # noqa: F811
    check(world, steps, "aliexpress")
