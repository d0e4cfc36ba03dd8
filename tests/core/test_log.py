"""Log lines are JSON, know what they belong to, and keep secrets to themselves."""

import io
import json
import logging
import threading
from contextvars import copy_context

import pytest

from services.core.log import HIDDEN, JsonFormatter, bind, bound, configure_logging, redact


@pytest.fixture
def lines():
    """A logger, and its lines as parsed so far."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("tests.lines")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    return logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_what_is_bound_here_and_no_more(lines):
    logger, read = lines
    with bind(request_id="r-1"):
        with bind(job_id="j-1", merchant_id="m-1", request_id=None):
            logger.info("inside %s", 1)
            assert bound("job_id") == "j-1"
        logger.info("outside")
    logger.info("after")
    inside, outside, after = read()
    assert (inside["request_id"], inside["job_id"], inside["merchant_id"]) == ("r-1", "j-1", "m-1")
    assert inside["message"] == "inside 1"
    assert inside["level"] == "info"
    assert outside["request_id"] == "r-1"
    assert "job_id" not in outside
    assert "request_id" not in after


def test_what_is_bound_goes_with_a_copied_context_into_a_thread(lines):
    logger, read = lines
    with bind(job_id="j-2"):
        thread = threading.Thread(target=copy_context().run, args=(logger.info, "there"))
        thread.start()
        thread.join()
    assert read()[0]["job_id"] == "j-2"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer s3cr3t-value",
        "authorization=Basic czNjcjN0LXZhbHVl.s3cr3t",
        '{"Authorization": "Bearer s3cr3t-value", "x": 1}',
        "{'authorization': 'Bearer s3cr3t-value'}",
        "connection to postgresql+psycopg://user:s3cr3t@db.example:5432/x failed",
        "redis://:s3cr3t@127.0.0.1:6379/0",
        "https://merchant:s3cr3t@shop.example/feed.csv",
        "password=s3cr3t",
        "host=db user=u password=s3cr3t dbname=d",
        "PASSWORD = 's3cr3t with spaces'",
        '"jwt_secret": "s3cr3t"',
        "SUPABASE_SERVICE_ROLE_KEY=s3cr3t",
        "GET /feed?api_key=s3cr3t&page=2",
        "GET /feed?access_token=s3cr3t",
        "apikey: s3cr3t",
        "key is sb_secret_s3cr3t here",
        "ENCRYPTION_KEYS=s3cr3t,other",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM2NyM3QifQ.s3cr3t refused",
    ],
)
def test_secrets_are_taken_out(text):
    cleaned = redact(text)
    assert "s3cr3t" not in cleaned
    assert HIDDEN in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "job 01890a5d-ac96-774b-bcce-b302099a8057 went from queued to running",
        "GET /api/v1/jobs?limit=5 200",
        "the keyword has no secret in it: tokenised 3 rows",
        "https://shop.example:8443/feed.csv at 12:30",
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    assert redact(text) == text


def test_secrets_in_extras_and_tracebacks_are_taken_out(lines):
    logger, read = lines
    try:
        raise ValueError("postgres://u:s3cr3t@h/d")
    except ValueError:
        logger.exception("failed", extra={"api_key": "s3cr3t", "nested": {"password": "s3cr3t", "rows": 3}})
    (line,) = read()
    assert "s3cr3t" not in json.dumps(line)
    assert line["nested"]["rows"] == 3
    assert "ValueError" in line["exception"]


def test_odd_values_never_break_a_line():
    record = logging.makeLogRecord({"msg": "%d rows", "args": ("many",), "what": object(), "when": {1, 2}})
    line = json.loads(JsonFormatter().format(record))
    assert line["message"].startswith("%d rows")
    assert line["when"] == [1, 2]


def test_uvicorn_and_celery_log_through_the_root(settings, capsys):
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        configure_logging(settings)
        logging.getLogger("uvicorn.error").warning("from uvicorn")
        logging.getLogger("celery.worker").warning("from celery")
        found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [(line["logger"], line["message"]) for line in found] == [
            ("uvicorn.error", "from uvicorn"),
            ("celery.worker", "from celery"),
        ]
    finally:
        logging.getLogger().handlers[:] = before[0]
        logging.getLogger().setLevel(before[1])
