"""BigBuy's errors, in all the shapes they are found in."""

from collections.abc import Mapping
from typing import Any

from sandbox.wire import Answer, encode

Json = Mapping[str, Any] | list[Any] | str | int | float | None

INFO = {
    "ER001": "Products not found.",
    "ER002": "Incorrect product references.",
    "ER003": "Products have no stock.",
    "ER004": "Invalid postcode format for the selected country.",
    "ER005": "The MoneyBox does not have enough money to pay this order.",
    "ER007": "The order does not reach the minimum purchase.",
    "ER008": "The order already exists.",
    "ER009": "There is a temporary order with the same internal reference.",
    "ER010": "There is no carrier available for this order.",
    "ER011": "Invalid payment method.",
    "ER012": "The order does not reach the minimum for payment by bank wire.",
    "ER013": "These products cannot be exported to the selected country.",
    "ER014": "A pack is required to place orders.",
}


class Refused(Exception):
    """Ends a call with an error; its argument is the answer."""

    def __init__(self, answer: Answer) -> None:
        """`answer` is sent as it is."""
        super().__init__(answer)
        self.answer = answer


class OrderError(Exception):
    """An order that cannot be: one of ER001 … ER014."""

    def __init__(self, code: str, data: Json = None) -> None:
        """`data` is what goes into the nested message."""
        super().__init__(code)
        self.code = code
        self.data = {} if data is None else data

    def answer(self) -> Answer:
        """409 with the nested JSON text."""
        return nested(self.code, INFO[self.code], self.data)


def php_json(value: object) -> str:
    """JSON as PHP writes it: ASCII, with slashes escaped."""
    return encode(value).replace("/", "\\/")


def answer(value: object, status: int = 200) -> Answer:
    """A JSON body as BigBuy writes it."""
    return Answer(status, php_json(value).encode())


def nested(code: str | int, info: str, data: Json, status: int = 409) -> Answer:
    """`message` is JSON text with `info` and `data`."""
    return answer({"code": code, "message": encode({"info": info, "data": data})}, status)


def plain(status: int, message: str) -> Answer:
    """`code` and `message`."""
    return answer({"code": status, "message": message}, status)


def missing(how: str, what: str) -> Answer:
    """Something that is not there: `empty` (200 and no body) or `404`."""
    return Answer(200, b"") if how == "empty" else plain(404, f"{what} not found.")


def no_such_page() -> Answer:
    """An address that is not, or is no more."""
    return answer({"errors": [{"code": 34, "message": "Sorry, that page does not exist"}]}, 404)


def too_many() -> Answer:
    """Over the limit: plain text, no Retry-After."""
    return Answer(429, b"You exceeded the rate limit", "text/plain; charset=UTF-8")


def inactive(skus: list[str]) -> Answer:
    """Products that exist and are not sold."""
    return nested(409, "Products error.", [{"sku": sku, "message": "Inactive product."} for sku in skus])


def several_warehouses(warehouses: Mapping[int, list[str]]) -> Answer:
    """An order for the multishipping endpoints."""
    return answer(
        {
            "code": 409,
            "message": "This cart contains products from different warehouses. Please use the multishipping endpoints.",
            "error_detail": {"warehouses": [{"id": id_, "references": list(r)} for id_, r in warehouses.items()]},
        },
        409,
    )


def invalid(children: Mapping[str, Any], errors: list[str] | None = None) -> Answer:
    """A form that does not validate, as Symfony says it: empty arrays for fields that are well.

    With errors of the form as a whole the message is the other one that is seen.
    """
    if errors:
        message = "".join(f"ERROR: {error}\n" for error in errors)
        return answer({"code": 400, "message": message, "errors": {"errors": errors, "children": children}}, 400)
    return answer({"code": 400, "message": "Validation Failed", "errors": {"children": children}}, 400)


def soft(variant: str | None) -> Answer:
    """An error inside HTTP 200: `code` (the default), or a whole response in the body: `embedded`.

    Raises ValueError for another variant.
    """
    match variant:
        case None | "code":
            return answer({"code": 409, "message": "Something went wrong 56780123"})
        case "embedded":
            error = '{"error":"Information is not available right now. Try it again later"}'
            head = "HTTP/1.0 500 Internal Server Error\r\nCache-Control: no-cache, private\r\n"
            return Answer(200, f"{head}Content-Type: application/json\r\n\r\n{error}".encode())
        case "inverted":
            return answer({"code": "Bad request", "message": 400})
    raise ValueError(f"soft: variant is code, embedded or inverted, not {variant}")
