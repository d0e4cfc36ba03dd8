"""One HTTP call to a supplier, as every adapter makes it: bounded, on a connection of its own, read without trust."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

from services.core.outside import Answer, FetchedTooLarge, FetchFailed, FetchUnavailable, Guard, UrlNotAllowed
from services.suppliers.errors import FatalForConnection, Retry

USER_AGENT = "ShopOpti/1"
MAX_ANSWER_BYTES = 16 * 1024 * 1024
DEADLINE_SECONDS = 60.0

# The address is a constant of the adapter or the operator's setting: it may be on this machine.
_OPERATORS = Guard(allowed=lambda _: True)


class Unsent(Retry):
    """The supplier was not reached: certainly nothing happened there."""

    code = "supplier_unavailable"


class Unreadable(Retry):
    """The supplier answered something that is not what it documents."""

    code = "supplier_unavailable"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def text(self) -> str:
        """The body for people and for searching; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace").strip()


@contextlib.contextmanager
def opened(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    max_bytes: int = MAX_ANSWER_BYTES,
    deadline_seconds: float = DEADLINE_SECONDS,
    read_timeout_seconds: float = 30.0,
) -> Iterator[Answer]:
    """An answer being received. Raises Unsent, Unreadable (too large), Retry, FatalForConnection (impossible address).

    The body of the `with` must not raise UnicodeError or OSError: they would pass for the connection's.
    """
    from services.core.http import exchange, was_sent  # brings an HTTP client along: not before there is a call

    sent = {"User-Agent": USER_AGENT, "Accept": "application/json", **headers}
    try:
        with exchange(
            method,
            url,
            headers=sent,
            content=content,
            max_bytes=max_bytes,
            deadline_seconds=deadline_seconds,
            read_timeout_seconds=read_timeout_seconds,
            guard=_OPERATORS,
        ) as answer:
            yield answer
    except FetchedTooLarge as error:
        raise Unreadable(f"The answer is larger than {max_bytes:,} bytes.") from error
    except UrlNotAllowed as error:
        raise FatalForConnection(error.detail, kind="unreachable") from error
    except (FetchFailed, FetchUnavailable) as error:
        raise (Retry if was_sent(error) else Unsent)(error.detail) from error


def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Reply:
    """A call and its whole answer, whatever its status. Raises as `opened` does."""
    with opened(method, url, headers=headers, content=content, deadline_seconds=deadline_seconds) as answer:
        body = b"".join(answer.chunks)
    return Reply(answer.status, answer.headers, body)


def loads(text: str | bytes) -> Any:
    """JSON with exact numbers. Raises ValueError for anything else, `NaN` and bottomless nesting included."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# -- reading values that may be anything -------------------------------------------------------------------------------

# These are asked for millions of times in a walk: what nearly all values are comes first.
_PLAIN = (str, int, Decimal)
_TOO_MUCH = Decimal(10) ** 15


def text_of(value: object) -> str | None:
    """Text or a number as text, without outer blanks; None for all else and for nothing.

    What UTF-8 and Postgres cannot hold (NUL, half of a surrogate pair) is left out or replaced.
    """
    if type(value) is str:
        text = value
    elif isinstance(value, bool) or not isinstance(value, _PLAIN):
        return None
    else:
        text = str(value)
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text.strip() or None


def id_of(value: object) -> int | None:
    """A positive whole number that fits 64 bits, from a number or its digits; None for all else."""
    if type(value) is int:
        return value if 0 < value < 2**63 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return id_of(int(value))
    return None


def number_of(value: object) -> Decimal | None:
    """A finite number, from a number or its plain text; None for all else."""
    if type(value) is Decimal:
        number = value
    elif type(value) is not str and (isinstance(value, bool) or not isinstance(value, _PLAIN)):
        return None
    else:
        try:
            number = Decimal(value)
        except ArithmeticError:
            return None
    return number if number.is_finite() and -_TOO_MUCH < number < _TOO_MUCH else None


def positive(value: object) -> Decimal | None:
    """A number more than zero; a price of zero is no price."""
    number = number_of(value)
    return number if number is not None and number > 0 else None


def count_of(value: object) -> int | None:
    """A whole number of pieces, zero at least; None for all else."""
    if type(value) is int:
        return value if 0 <= value < 2**31 else None
    number = number_of(value)
    if number is None or number != number.to_integral_value() or not 0 <= number < 2**31:
        return None
    return int(number)


def dicts(value: object) -> list[dict[str, Any]]:
    """The objects of a list; none when it is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def moment(milliseconds: object) -> datetime | None:
    """An instant from epoch milliseconds."""
    number = number_of(milliseconds)
    if number is None or not 0 < number < 10**14:
        return None
    return datetime.fromtimestamp(float(number) / 1000, UTC)
