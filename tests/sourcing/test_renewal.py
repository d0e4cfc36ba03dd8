"""Tokens that are renewed by exactly one, kept whatever happens, and told when they cannot be had any more."""

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from services.core.clock import now
from services.core.db import transaction
from services.jobs.outcomes import Snooze, outcome_of
from services.models import Connection, Job
from services.orders.following import tracking
from services.orders.placing import fulfil
from services.orders.placing.send import Wait
from services.sourcing.accounts import credentials, expiry, renewal
from services.sourcing.accounts.connections import disconnect, replace_credentials
from services.sourcing.accounts.expiry import TokenAwaited
from services.sourcing.accounts.oauth import Wanted, exchange, keep
from services.sourcing.accounts.reach import Reached, reach, reconnect_needed
from services.sourcing.accounts.renewal import RenewalUnderway, renew
from services.sourcing.accounts.trials import trial_of, try_out
from services.sourcing.jobs import SyncSupplierProducts
from services.suppliers.errors import ReconnectNeeded
from tasks.connections import renew_supplier_tokens
from tests.conftest import ROOT
from tests.inline import work as work_on
from tests.sourcing.syncing import begin

REFRESH = "/auth/token/refresh"


def work(job_id: uuid.UUID) -> dict[str, Any]:
    """One attempt at a renewal."""
    return work_on(job_id, handler=renew_supplier_tokens)


@pytest.fixture
def account(world: Any, merchant: uuid.UUID) -> uuid.UUID:
    """A connection to the sandbox's AliExpress that came by consent."""
    return consented(world, merchant)


def consented(world: Any, merchant: uuid.UUID) -> uuid.UUID:
    """The id of a connection that came by consent."""
    import httpx

    query = "response_type=code&client_id=12345678&redirect_uri=http://x.example/"
    page = httpx.get(f"{world.url}/aliexpress/oauth/authorize?{query}", trust_env=False)
    code = page.headers["location"].partition("code=")[2]
    wanted = Wanted(redirect_uri="http://x.example/")
    tokens, app = exchange(merchant, code, wanted)
    with transaction(merchant_id=merchant) as session:
        return keep(session, merchant, wanted, tokens, app).id


def row_of(merchant: uuid.UUID, id_: uuid.UUID) -> Connection:
    """The row as it is now, with its secrets."""
    with transaction(merchant_id=merchant) as session:
        found = session.get_one(Connection, id_)
        assert found.state == "disconnected" or found.secrets
        return found


def change(merchant: uuid.UUID, id_: uuid.UUID, **values: Any) -> None:
    """Put something into the row."""
    with transaction(merchant_id=merchant) as session:
        row = session.get_one(Connection, id_)
        for name, value in values.items():
            setattr(row, name, value)


def reach_of(merchant: uuid.UUID, id_: uuid.UUID) -> Reached:
    """What a job gets to call the supplier."""
    with transaction(merchant_id=merchant) as session:
        return reach(session, id_)


def refreshed(world: Any) -> list[dict[str, Any]]:
    """The calls that asked for new tokens."""
    return [entry for entry in world.ask("GET", "ledger?supplier=aliexpress")["data"] if entry["route"] == REFRESH]


def renewals(merchant: uuid.UUID) -> list[Job]:
    """The jobs that renew, oldest first."""
    with transaction(merchant_id=merchant) as session:
        found = select(Job).where(Job.merchant_id == merchant, Job.kind == "renew_supplier_tokens")
        return list(session.scalars(found.order_by(Job.id)))


def renewed(merchant: uuid.UUID, account: uuid.UUID) -> bool:
    """Renew; False while another does it."""
    try:
        renew(merchant, account, secrets_version=1)
    except RenewalUnderway:
        return False
    return True


def test_many_renew_at_once_and_one_asks(world, merchant, account):
    before = credentials.read(row_of(merchant, account))
    code = f"""
import uuid
from services.core.settings import get_settings
from services.sourcing.accounts.renewal import RenewalUnderway, renew
get_settings().sandbox_url = {world.url!r}
print("ready", flush=True)
input()
try:
    renew(uuid.UUID({str(merchant)!r}), uuid.UUID({str(account)!r}), secrets_version=1)
    print(True)
except RenewalUnderway:
    print(False)
"""
    with (
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1, text=True) as other,
        world.fault("latency", supplier="aliexpress", route=REFRESH, seconds=0.5),
        ThreadPoolExecutor(4) as threads,
    ):
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("\n")
        other.stdin.flush()
        here = list(threads.map(lambda _: renewed(merchant, account), range(4)))
        there = other.communicate(timeout=60)[0].strip() == "True"
    assert sorted([*here, there]) == [False, False, False, False, True]
    assert len(refreshed(world)) == 1
    after = row_of(merchant, account)
    secrets = credentials.read(after)
    assert {before[name] for name in ("access_token", "refresh_token")}.isdisjoint(secrets.values())
    assert (after.secrets_version, after.renewing_until) == (2, None)
    assert after.token_expires_at > now() + timedelta(hours=23)
    reached = reach_of(merchant, account)
    assert reached.adapter.who_am_i(reached.connection).checked
    assert renewed(merchant, account)  # there are others already: nothing is asked
    assert len(refreshed(world)) == 1


def test_a_job_renews_before_the_end_and_asks_for_the_next(world, merchant, account):
    (first,) = renewals(merchant)
    row = row_of(merchant, account)
    life = row.token_expires_at - now()
    assert life * 0.6 < first.run_at - now() < life * 0.8
    assert work(first.id)["state"] == "succeeded"
    first, second = renewals(merchant)
    assert (second.state, second.args["secrets_version"]) == ("scheduled", 2)
    assert second.run_at > now() + timedelta(hours=12)
    # A job of tokens that were replaced has nothing to do.
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE jobs SET args = jsonb_set(args, '{secrets_version}', '1') WHERE id = :id"),
                        {"id": second.id})  # fmt: skip
    assert work(second.id)["state"] == "succeeded"
    assert len(refreshed(world)) == 1


@pytest.mark.parametrize("kind", ["server_error", "html", "truncated", "soft", "quota", "drop"])
def test_what_stands_in_the_way_is_waited_for(world, merchant, account, kind):
    (job,) = renewals(merchant)
    with world.fault(kind, supplier="aliexpress", route=REFRESH):
        ended = work(job.id)
    assert (ended["state"], ended["attempt"]) == ("scheduled", 0), ended
    assert row_of(merchant, account).renewing_until is None
    done = work(job.id)
    row = row_of(merchant, account)
    if kind == "truncated":  # AliExpress had done it: its new tokens never arrived
        assert (done["state"], done["error_code"], row.state) == (
            "failed", "supplier_reconnect_needed", "reconnect_needed",
        )  # fmt: skip
    else:
        assert (done["state"], row.secrets_version) == ("succeeded", 2)


def test_a_lost_answer_is_tried_again_and_then_told(world, merchant, account, client):
    (job,) = renewals(merchant)
    with world.fault("lost", supplier="aliexpress", route=REFRESH):
        ended = work(job.id)
    assert (ended["state"], ended["reason"]) == ("scheduled", "supplier_outcome_unknown")
    assert row_of(merchant, account).state == "active"
    ended = work(job.id)
    assert (ended["state"], ended["error_code"]) == ("failed", "supplier_reconnect_needed")
    (access,) = client.get("/api/v1/aliexpress/status").json()["connections"]
    assert (access["state"], access["renewable"]) == ("reconnect_needed", False)
    assert "no longer takes the token" in access["problem"]
    events = client.get(f"/api/v1/jobs/{job.id}").json()["timeline"]
    assert (events[-1]["status"], events[-1]["error"]["code"]) == ("failed", "supplier_reconnect_needed")
    assert len(renewals(merchant)) == 1


def test_what_was_given_meanwhile_is_not_overwritten(world, merchant, account):
    new = world.ask("POST", "aliexpress/tokens", {"app_key": "12345678"})
    with (
        world.fault("latency", supplier="aliexpress", route=REFRESH, seconds=1),
        ThreadPoolExecutor(1) as threads,
    ):
        renewing = threads.submit(renew, merchant, account, secrets_version=1)
        while row_of(merchant, account).renewing_until is None:
            pass
        with transaction(merchant_id=merchant) as session:
            tested = try_out(trial_of(session, account, new))
            replace_credentials(session, account, tested)
        renewing.result()
    row = row_of(merchant, account)
    assert (row.secrets_version, credentials.read(row)["access_token"]) == (2, new["access_token"])
    assert row.token_expires_at is None  # nobody said when these end; they are not taken for the old ones


def test_a_renewal_that_is_the_last_one_leaves_no_token_to_renew_with(world, merchant, account):
    world.ask("PATCH", "aliexpress/settings", {"refresh_seconds": 0})
    renew(merchant, account, secrets_version=1)
    row = row_of(merchant, account)
    assert (row.secrets_version, row.refresh_expires_at) == (2, None)
    assert "refresh_token" not in credentials.read(row)


def test_whoever_renews_is_left_alone_for_a_while(world, merchant, account):
    change(merchant, account, renewing_until=now() + timedelta(seconds=30))
    with pytest.raises(RenewalUnderway):
        renew(merchant, account, secrets_version=1)
    assert refreshed(world) == []
    change(merchant, account, renewing_until=now() - timedelta(seconds=1))  # it died
    renew(merchant, account, secrets_version=1)
    assert row_of(merchant, account).secrets_version == 2


def test_a_token_that_is_about_to_end_is_renewed_when_it_is_used(world, merchant, account):
    reach_of(merchant, account)
    assert [job.state for job in renewals(merchant)] == ["scheduled"]
    change(merchant, account, token_expires_at=now() + timedelta(minutes=5))
    for _ in range(3):
        assert reach_of(merchant, account).secrets_version == 1  # it still serves
    in_time, at_once = renewals(merchant)
    assert (in_time.state, at_once.state) == ("scheduled", "queued")
    assert work(at_once.id)["state"] == "succeeded"
    assert reach_of(merchant, account).secrets_version == 2
    assert work(in_time.id)["state"] == "succeeded"
    assert len(refreshed(world)) == 1


def test_a_token_that_has_ended_is_waited_for_but_not_for_ever(world, merchant, account):
    change(merchant, account, token_expires_at=now() - timedelta(seconds=1))
    with pytest.raises(TokenAwaited) as raised:
        reach_of(merchant, account)
    assert outcome_of(raised.value) == Snooze(3, "token_awaited")
    # Nobody renews it, perhaps because its job was cancelled: whoever comes has it done.
    change(merchant, account, token_expires_at=now() - expiry.AWAITED - timedelta(seconds=1))
    assert reach_of(merchant, account).secrets_version == 1
    assert [job.state for job in renewals(merchant)] == ["scheduled", "queued"]


def test_a_refused_token_is_renewed_once_and_then_told(world, merchant, account):
    change(merchant, account, checked_at=now() - expiry.FRESH)
    with transaction(merchant_id=merchant) as session:
        assert not reconnect_needed(session, account, secrets_version=1, reason="refused")
    with pytest.raises(TokenAwaited):
        reach_of(merchant, account)
    assert work(renewals(merchant)[-1].id)["state"] == "succeeded"
    assert reach_of(merchant, account).secrets_version == 2
    with transaction(merchant_id=merchant) as session:
        assert not reconnect_needed(session, account, secrets_version=1, reason="refused")  # it has others since
        assert reconnect_needed(session, account, secrets_version=2, reason="refused")  # new ones are refused too
    row = row_of(merchant, account)
    assert (row.state, row.problem) == ("reconnect_needed", "refused")


def test_work_waits_for_a_renewal(world, merchant, account):
    """What was refused is not told to the merchant while there is hope, and nothing is blocked."""
    change(merchant, account, checked_at=now() - expiry.FRESH)
    job = begin(merchant, SyncSupplierProducts(connection_id=account, only=["1005006000000001"]))
    with world.fault("revoked", supplier="aliexpress", route="aliexpress.*"):
        with pytest.raises(TokenAwaited):
            tracking.check(reach_of(merchant, account), "8198352049850001")
        change(merchant, account, token_expires_at=now() + timedelta(hours=1))  # as if the other had not come by
        parked = work_on(job)
        assert (parked["state"], parked["reason"], parked["attempt"]) == ("scheduled", "token_awaited", 0)
    assert row_of(merchant, account).state == "active"
    with transaction(merchant_id=merchant) as session:
        assert fulfil._way(session, account) == Wait(3, "token_awaited")
    assert work(renewals(merchant)[-1].id)["state"] == "succeeded"
    assert reach_of(merchant, account).secrets_version == 2
    assert work_on(job)["state"] == "succeeded"


def test_what_cannot_be_renewed_is_told_at_its_end(world, merchant):
    world.ask("PATCH", "aliexpress/settings", {"refresh_seconds": 0})
    account = consented(world, merchant)
    row = row_of(merchant, account)
    assert set(credentials.read(row)) == {"app_key", "app_secret", "access_token"}
    (job,) = renewals(merchant)
    assert job.run_at == row.token_expires_at
    ended = work(job.id)
    assert (ended["state"], ended["error_code"]) == ("failed", "supplier_reconnect_needed")
    row = row_of(merchant, account)
    assert row.state == "reconnect_needed"
    assert "gave nothing to renew it with" in row.problem
    assert refreshed(world) == []


def test_a_connection_that_was_given_up_is_not_renewed(world, merchant, account):
    with transaction(merchant_id=merchant) as session:
        disconnect(session, account)
    assert renewals(merchant)[0].state == "cancelled"
    renew(merchant, account, secrets_version=1)
    assert refreshed(world) == []


def test_tokens_are_kept_although_the_database_hangs_up(world, merchant, account):
    """Whoever writes them down waits for the row, and loses the connection there."""
    waiting = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE '%connections%'"
    )
    with ThreadPoolExecutor(1) as threads:
        with world.fault("latency", supplier="aliexpress", route=REFRESH, seconds=0.3):
            renewing = threads.submit(renew, merchant, account, secrets_version=1)
            while row_of(merchant, account).renewing_until is None:
                pass
        with transaction(merchant_id=merchant) as session:
            session.execute(text("SELECT FROM connections WHERE id = :id FOR UPDATE"), {"id": account})
            cut = 0
            while not cut:
                with transaction() as other:
                    other.execute(text("SELECT set_config('role', 'none', true)"))
                    cut = len(other.execute(waiting).all())
        renewing.result()
    assert row_of(merchant, account).secrets_version == 2
    assert len(refreshed(world)) == 1


def test_a_token_that_was_not_renewed_in_time_is_not_tried(world, merchant, account):
    change(merchant, account, refresh_expires_at=now() - timedelta(seconds=1))
    with pytest.raises(ReconnectNeeded, match="in time"):
        renew(merchant, account, secrets_version=1)
    assert row_of(merchant, account).state == "reconnect_needed"
    assert refreshed(world) == []


def test_a_lease_outlives_the_call():
    assert renewal.LEASE.total_seconds() > renewal.CALL_SECONDS
