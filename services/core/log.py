"""Structured logs: one JSON object a line, with the request, job and merchant it belongs to, and without secrets.

`bind` holds for everything below it, threads started by it included (contextvars travel with them):

    with bind(job_id=str(job.id), request_id=job.request_id):
        ...
"""

import contextlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from services.core.settings import Settings

HIDDEN = "[redacted]"

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default={})  # noqa: B039  # never changed in place

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|authorization|api[-_]?key|encryption_keys?|private[-_]?key|cookie|credential",
    re.IGNORECASE,
)
_NAMES = (
    r"[\w-]*(?:password|passwd|passphrase|secret|token|authorization|api[-_]?key|access[-_]?key|service_role_key"
    r"|private[-_]?key|encryption[-_]keys?|cookie)[\w-]*"
)
# Ordered: a header's whole value goes before its parts are looked at.
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=:-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?"), HIDDEN),  # a JSON web token
    (re.compile(r"\bsb_(?:secret|publishable)_[\w-]+"), HIDDEN),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:'\"]*:[^\s/'\"]*@"), rf"\1{HIDDEN}@"),  # user:password@host
    (re.compile(rf"(?i)([\"']?\b{_NAMES}[\"']?\s*[:=]\s*)(?!\s*[\"']?(?:bearer|basic) )\"[^\"]+\""), rf'\1"{HIDDEN}"'),
    (re.compile(rf"(?i)([\"']?\b{_NAMES}[\"']?\s*[:=]\s*)(?!\s*[\"']?(?:bearer|basic) )'[^']+'"), rf"\1'{HIDDEN}'"),
    (re.compile(rf"(?i)(\b{_NAMES}\s*[:=]\s*)(?!(?:bearer|basic) )[^\s,;&'\"\[\]{{}})]+"), rf"\1{HIDDEN}"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_QUIET = ("httpx", "httpcore", "urllib3", "hpack", "asyncio", "python_multipart")  # they log addresses with queries


@contextlib.contextmanager
def bind(**values: str | None) -> Iterator[None]:
    """Add names (request_id, job_id, merchant_id, …) to every line logged inside. None leaves a name as it was."""
    added = {name: value for name, value in values.items() if value is not None}
    before = _context.set({**_context.get(), **added})
    try:
        yield
    finally:
        _context.reset(before)


def bound(name: str) -> str | None:
    """What a name is bound to here, for handing it on (a job carries its request's id)."""
    return _context.get().get(name)


def redact(text: str) -> str:
    """The text with what looks like a credential taken out."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _clean(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean(name, item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, what is bound, what came in `extra=`, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON; never raises on odd values."""
        try:
            message = record.getMessage()
        except Exception:
            message = f"{record.msg} {record.args}"
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(message),
            **_context.get(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                line[name] = _clean(name, value)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = redact("".join(traceback.format_exception(record.exc_info[1])))
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(settings: Settings) -> None:
    """Send every logger's lines, uvicorn's and Celery's included, to standard error as JSON. May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    foreign = [old for old in root.handlers if type(old) is not logging.StreamHandler]  # a test's or a tracer's
    root.handlers[:] = [*foreign, handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "celery.task", "celery.redirected", "kombu"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # api/context.py logs requests, with their ids
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
