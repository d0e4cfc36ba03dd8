"""When schedules fire: the wall clock on the days it is moved, what was missed, and clocks that jump."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.jobs.schedules import CATCH_UP, Cron, CronInvalid, Every, TimeZoneUnknown, cron, due_fires
from tests.examples import examples

MADRID, NEW_YORK, LORD_HOWE = "Europe/Madrid", "America/New_York", "Australia/Lord_Howe"


def utc(words: str) -> datetime:
    return datetime.fromisoformat(words).replace(tzinfo=UTC)


def fires(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The next fires on the zone's clock, with its offset."""
    rhythm, moment, found = cron(expression, zone), utc(after), []
    for _ in range(count):
        moment = rhythm.after(moment)
        found.append(moment.astimezone(ZoneInfo(zone)).strftime("%d %H:%M %z"))
    return found


# -- The two days of the year ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # The hour that does not exist: at once when the clock goes on, once.
        ("30 2 * * *", MADRID, "2025-03-29T12:00", ["30 03:00 +0200", "31 02:30 +0200"]),
        ("0,15,30,45 2 * * *", MADRID, "2025-03-29T12:00", ["30 03:00 +0200", "31 02:00 +0200"]),
        ("0 2,3 * * *", MADRID, "2025-03-29T12:00", ["30 03:00 +0200", "31 02:00 +0200", "31 03:00 +0200"]),
        ("*/20 2 * * *", MADRID, "2025-03-29T12:00", ["30 03:00 +0200", "31 02:00 +0200"]),
        ("30 2 * * *", NEW_YORK, "2025-03-08T12:00", ["09 03:00 -0400", "10 02:30 -0400"]),
        ("15 2 * * *", LORD_HOWE, "2025-10-04T00:00", ["05 02:30 +1100", "06 02:15 +1100"]),
        ("30 2 9 3 *", NEW_YORK, "2025-01-01T00:00", ["09 03:00 -0400", "09 02:30 -0400"]),  # the second is 2026
        # The hour that comes twice: the first time only.
        ("30 2 * * *", MADRID, "2025-10-25T12:00", ["26 02:30 +0200", "27 02:30 +0100"]),
        ("30 1 * * *", NEW_YORK, "2025-11-01T12:00", ["02 01:30 -0400", "03 01:30 -0500"]),
        ("45 1 * * *", LORD_HOWE, "2025-04-05T12:00", ["06 01:45 +1100", "07 01:45 +1030"]),
        # Asked in the middle of the repeated hour, and in its second half.
        ("30 2 * * *", MADRID, "2025-10-26T00:45", ["27 02:30 +0100"]),
        ("30 2 * * *", MADRID, "2025-10-26T01:15", ["27 02:30 +0100"]),
        # "Every two hours" are times of the day too: none left out, none doubled.
        ("0 */2 * * *", MADRID, "2025-03-29T22:30", ["30 00:00 +0100", "30 03:00 +0200", "30 04:00 +0200"]),
        ("0 */2 * * *", MADRID, "2025-10-25T21:30", ["26 00:00 +0200", "26 02:00 +0200", "26 04:00 +0100"]),
        # Every hour and every so many minutes go on evenly.
        ("30 * * * *", MADRID, "2025-03-30T00:00", ["30 01:30 +0100", "30 03:30 +0200", "30 04:30 +0200"]),
        (
            "30 * * * *", MADRID, "2025-10-25T23:00",
            ["26 01:30 +0200", "26 02:30 +0200", "26 02:30 +0100", "26 03:30 +0100"],
        ),
        ("*/30 * * * *", MADRID, "2025-10-26T00:15", ["26 02:30 +0200", "26 02:00 +0100", "26 02:30 +0100"]),
        ("*/15 * * * *", LORD_HOWE, "2025-10-04T15:10", ["05 01:45 +1030", "05 02:30 +1100", "05 02:45 +1100"]),
        (
            "*/15 * * * *", LORD_HOWE, "2025-04-05T14:40",
            ["06 01:45 +1100", "06 01:30 +1030", "06 01:45 +1030", "06 02:00 +1030"],
        ),
        # A half-hour change does disturb "every hour": what fell into the gap is made up for.
        ("0 * * * *", LORD_HOWE, "2025-10-04T14:00", ["05 01:00 +1030", "05 02:30 +1100", "05 03:00 +1100"]),
        # Nothing happens where nothing happens.
        ("0 9 * * 1-5", "Asia/Tokyo", "2025-03-28T12:00", ["31 09:00 +0900", "01 09:00 +0900"]),
        ("0 0 29 2 *", "UTC", "2025-01-01T00:00", ["29 00:00 +0000", "29 00:00 +0000"]),
        ("0 0 L * *", "Asia/Kolkata", "2025-02-01T00:00", ["28 00:00 +0530", "31 00:00 +0530"]),
    ],
)  # fmt: skip
def test_a_cron_on_the_days_the_clock_is_moved(expression: str, zone: str, after: str, expected: list[str]) -> None:
    assert fires(expression, zone, after, len(expected)) == expected


ZONES = [MADRID, NEW_YORK, LORD_HOWE, "Africa/Cairo", "America/Santiago", "Asia/Kolkata", "Pacific/Chatham", "UTC"]
moments = st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))
# Most of them within a few days of a change.
changes = st.sampled_from(
    [utc(d) for d in ("2025-03-30T01:00", "2025-10-26T01:00", "2025-03-09T07:00", "2025-11-02T06:00",
                      "2025-04-05T15:00", "2025-10-04T15:30", "2026-04-23T22:00", "2025-10-30T21:00")]
)  # fmt: skip
near_changes = st.builds(lambda at, minutes: at + timedelta(minutes=minutes), changes, st.integers(-2000, 2000))


def walls(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Every minute of a stretch of time as it stands on the wall: what a person with a watch would write down."""
    found, moment = [], start
    while moment <= end:
        found.append((moment, moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")))
        moment += timedelta(minutes=1)
    return found


@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from(ZONES), near_changes, st.integers(0, 23), st.integers(0, 59))
def test_a_daily_time_fires_exactly_once_on_every_date(zone: str, start: datetime, hour: int, minute: int) -> None:
    """On its minute where that exists, the first one where there are two, else the moment after the gap."""
    end = start + timedelta(days=3)
    rhythm, moment, found = Cron(f"{minute} {hour} * * *", ZoneInfo(zone)), start, []
    while (moment := rhythm.after(moment)) <= end:
        found.append(moment)
    expected, seen, before = [], set(), ""
    for at, wall in walls(zone, start - timedelta(hours=3), end):
        date = wall[:10]
        wanted = f"{date} {hour:02}:{minute:02}"
        if (wall == wanted or (before < wanted < wall and before[:10] <= date)) and wanted not in seen:
            seen.add(wanted)
            expected.append(at)
        before = wall
    assert found == [at for at in expected if at > start]


@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from(ZONES), near_changes, st.sampled_from([1, 2, 3, 5, 6, 10, 15, 30]))
def test_a_pattern_of_minutes_never_pauses_or_hurries(zone: str, start: datetime, step: int) -> None:
    rhythm, moment = Cron(f"*/{step} * * * *", ZoneInfo(zone)), start
    first = moment = rhythm.after(moment)
    assert first - start <= timedelta(minutes=step)
    for _ in range(200):
        following = rhythm.after(moment)
        assert following - moment == timedelta(minutes=step)
        moment = following


@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from([z for z in ZONES if z != LORD_HOWE]), near_changes, st.integers(0, 59))
def test_every_hour_is_every_hour(zone: str, start: datetime, minute: int) -> None:
    rhythm, moment = Cron(f"{minute} * * * *", ZoneInfo(zone)), Cron(f"{minute} * * * *", ZoneInfo(zone)).after(start)
    for _ in range(80):
        following = rhythm.after(moment)
        assert following - moment == timedelta(hours=1)
        moment = following


fields = st.tuples(
    st.sampled_from(["*", "0", "7", "*/10", "*/25", "0,30", "5-9", "59"]),
    st.sampled_from(["*", "0", "2", "1-3", "*/2", "*/5", "23", "0,1,2,3"]),
    st.sampled_from(["*", "1", "26-31", "L"]),
    st.just("*"),
    st.sampled_from(["*", "SUN", "1-5"]),
)


@settings(max_examples=examples(80), deadline=None)
@given(fields, st.sampled_from(ZONES), near_changes, st.lists(st.integers(1, 5000), max_size=4))
def test_where_one_asks_from_does_not_matter(
    parts: tuple[str, ...], zone: str, start: datetime, jumps: list[int]
) -> None:
    """The fires are a set of instants: later questions see the rest of the same set, in order."""
    rhythm = Cron(" ".join(parts), ZoneInfo(zone))
    row_, moment = [], start
    for _ in range(40):
        following = rhythm.after(moment)
        assert following > moment
        row_.append(following)
        moment = following
    for jump in jumps:
        asked = start + timedelta(minutes=jump)
        later = [fire for fire in row_ if fire > asked]
        if later:
            assert rhythm.after(asked) == later[0]


@given(moments, st.integers(10, 100_000), st.integers(-(10**7), 10**7))
def test_an_interval_keeps_its_anchor(anchor: datetime, seconds: int, later: int) -> None:
    rhythm, moment = Every(seconds, anchor), anchor + timedelta(seconds=later)
    following = rhythm.after(moment)
    assert timedelta() < following - moment <= timedelta(seconds=seconds)
    assert (following - anchor) % timedelta(seconds=seconds) == timedelta()
    assert rhythm.after(following - timedelta.resolution) == following


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "60 * * * *", "0 24 * * *", "a b c d e", "0 0 31 2 *", "0 0 30 2 *", "@daily",
     "*/0 * * * *", "1-0 * * * *", "0 0 ² * *", "L/2 * * * *", "0 0 * * 9", "0 0 L,/3 * *"],
)  # fmt: skip
def test_what_is_no_cron_expression(expression: str) -> None:
    with pytest.raises(CronInvalid) as raised:
        cron(expression, "UTC")
    assert raised.value.param == "cron"


@settings(max_examples=examples(80))
@given(st.text("0123456789*/-,#LWMON ", min_size=5, max_size=20))
def test_nonsense_is_refused_or_understood(expression: str) -> None:
    with suppress(CronInvalid):
        assert cron(expression, MADRID).after(utc("2025-01-01T00:00")) > utc("2025-01-01T00:00")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "localtime", "europe/madrid", "CEST"])
def test_what_is_no_time_zone(zone: str) -> None:
    with pytest.raises(TimeZoneUnknown) as raised:
        cron("0 0 * * *", zone)
    assert raised.value.param == "time_zone"


# -- Which of the due fires run --------------------------------------------------------------------------------------

NOON = utc("2025-06-01T12:00")


def seconds(*values: int) -> list[datetime]:
    return [NOON + timedelta(seconds=value) for value in values]


@pytest.mark.parametrize(
    ("misfire", "first", "moment", "expected", "following"),
    [
        # every 30 s; first due at `first`, looked at `moment` (seconds from noon)
        ("skip", 0, 0, [0], 30),
        ("skip", 0, 60, [0, 30, 60], 90),  # within the grace nothing was missed
        ("skip", 0, 61, [30, 60], 90),
        ("skip", 0, 120, [60, 90, 120], 150),  # a minute late to the second is not late
        ("skip", 0, 1000, [960, 990], 1020),
        ("skip", 30, 0, [], 30),
        ("once", 0, 60, [0, 30, 60], 90),
        ("once", 0, 61, [0, 30, 60], 90),  # the first is late: one run for the missed, and those on time
        ("once", 0, 1000, [0, 960, 990], 1020),
        ("catch_up", 0, 90, [0, 30, 60, 90], 120),
        ("catch_up", 0, 100_000, list(range(0, 3000, 30)), 3000),  # a hundred now, the rest in the next ticks
    ],
)
def test_the_misfire_rule(misfire: str, first: int, moment: int, expected: list[int], following: int) -> None:
    rhythm = Every(30, NOON)
    got = due_fires(rhythm, first=seconds(first)[0], moment=seconds(moment)[0], misfire=misfire)
    assert got == (seconds(*expected), seconds(following)[0])


@settings(max_examples=examples(80))
@given(
    st.sampled_from(["skip", "once", "catch_up"]),
    st.sampled_from([("*/7 * * * *", MADRID), ("30 2 * * *", NEW_YORK), ("0 */2 * * *", LORD_HOWE)]),
    near_changes,
    st.lists(st.integers(-7200, 90_000), min_size=1, max_size=12),
)
def test_a_clock_that_jumps_fires_nothing_twice(
    misfire: str, pattern: tuple[str, str], start: datetime, jumps: list[int]
) -> None:
    """Whatever the clock does between two looks; and a clock that only goes on misses nothing under `catch_up`."""
    rhythm = cron(*pattern)
    first = following = rhythm.after(start)
    moment, done, newest = start, [], start
    for jump in jumps:
        moment += timedelta(seconds=jump)
        newest = max(newest, moment)
        got, following = due_fires(rhythm, first=following, moment=moment, misfire=misfire)
        done += got
        assert following > moment or len(got) == CATCH_UP
    assert done == sorted(set(done))
    if misfire == "catch_up" and following > newest:
        regular, fire = [], first
        while fire <= newest:
            regular.append(fire)
            fire = rhythm.after(fire)
        assert done == regular
