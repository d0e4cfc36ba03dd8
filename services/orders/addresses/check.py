"""Addresses as each supplier wants them: what can be repaired is, and shown; what cannot waits for a person.

Nothing is cut and nothing is guessed: a repair keeps every word, and a reader of it sees field, before, after and why.
What a supplier wants is its adapter's `ADDRESS` (services/suppliers/base.py `AddressRules`).
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from services.orders.addresses.letters import transcribed
from services.orders.addresses.places import CALLING_CODES, KEEPS_ZERO, example_of, postcode_of
from services.suppliers.base import Address, AddressRules

_FIELDS = tuple(field.name for field in fields(Address))
# Words and how addresses shorten them. Only where a line is too long.
_SHORT = (
    ("street", "St"), ("avenue", "Ave"), ("boulevard", "Blvd"), ("road", "Rd"), ("drive", "Dr"), ("apartment", "Apt"),
    ("building", "Bldg"), ("floor", "Fl"), ("suite", "Ste"), ("square", "Sq"), ("highway", "Hwy"), ("north", "N"),
    ("south", "S"), ("east", "E"), ("west", "W"), ("straße", "str."), ("strasse", "str."), ("calle", "C/"),
    ("avenida", "Avda"), ("plaza", "Pl"), ("escalera", "Esc"), ("izquierda", "Izda"), ("derecha", "Dcha"),
    ("edificio", "Edif"), ("urbanización", "Urb"), ("piazza", "P.za"), ("rue", "R."), ("bâtiment", "Bât"),
    ("appartement", "Appt"), ("résidence", "Rés"), ("número", "n."), ("numero", "n."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repair:
    """A field that was changed for a supplier, and why: a stable word."""

    field: str
    before: str
    after: str
    why: str

    def shown(self) -> dict[str, str]:
        """As it is stored and told."""
        return {"field": self.field, "from": self.before, "to": self.after, "why": self.why}


@dataclass(frozen=True, slots=True)
class Fault:
    """A field that no repair makes right: ``missing``, ``too_long``, ``letters``, ``postcode`` or ``name``."""

    field: str
    value: str
    why: str
    reason: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """An address for one supplier. It may be sent when there are no faults."""

    address: Address
    repairs: tuple[Repair, ...] = ()
    faults: tuple[Fault, ...] = ()

    def shown_repairs(self) -> list[dict[str, str]]:
        """As an intent keeps them."""
        return [repair.shown() for repair in self.repairs]

    def shown_faults(self) -> list[dict[str, str]]:
        """As an attention item tells them."""
        return [asdict(fault) for fault in self.faults]


def fit(address: Mapping[str, Any] | None, rules: AddressRules, *, customer: Mapping[str, Any] | None = None) -> Fitted:
    """An order's address (and, where it has no name, phone or e-mail, its customer's) by a supplier's rules."""
    at = _Desk({name: str((address or {}).get(name) or "") for name in _FIELDS}, rules)
    at.borrow(customer or {})
    at.letters()
    at.name()
    at.lines()
    at.postcode()
    at.phone()
    at.province()
    at.check()
    return Fitted(Address(**at.parts), tuple(at.repairs), tuple(at.faults))


class _Desk:
    """One address being fitted, step by step."""

    def __init__(self, parts: dict[str, str], rules: AddressRules) -> None:
        self.parts = parts
        self.rules = rules
        self.repairs: list[Repair] = []
        self.faults: list[Fault] = []

    def put(self, name: str, value: str, why: str) -> None:
        """Change a field, and say so."""
        if value != self.parts[name]:
            self.repairs.append(Repair(name, self.parts[name], value, why))
            self.parts[name] = value

    def fault(self, name: str, why: str, reason: str) -> None:
        self.faults.append(Fault(name, self.parts[name], why, reason))

    def borrow(self, customer: Mapping[str, Any]) -> None:
        """What the customer has said of themselves, where the address does not."""
        for name in ("phone", "email"):
            if not self.parts[name] and customer.get(name):
                self.put(name, str(customer[name]), "from_customer")
        if not (self.parts["first_name"] or self.parts["last_name"]) and customer.get("name"):
            first, last = split_name(str(customer["name"]))
            self.put("first_name", first, "from_customer")
            self.put("last_name", last, "from_customer")

    def letters(self) -> None:
        """No letters the supplier cannot print, no signs nobody can."""
        for name, value in self.parts.items():
            written = transcribed(value, self.rules.letters, country=self.parts["country"])
            if written is None:
                self.fault(name, "letters", f"{value!r} cannot be written in {self.rules.letters} letters by a rule.")
            elif written != value:
                spaces = written == " ".join(value.split())
                self.put(name, written, "spaces" if spaces else "letters")

    def name(self) -> None:
        """A first and a last name where both are needed."""
        needed = {"first_name", "last_name"} & set(self.rules.needed)
        for empty, full in (("last_name", "first_name"), ("first_name", "last_name")):
            if empty in needed and not self.parts[empty] and " " in self.parts[full]:
                first, last = split_name(self.parts[full])
                self.put("first_name", first, "split")
                self.put("last_name", last, "split")
        if len(needed) == 2 and not (self.parts["first_name"] or self.parts["last_name"]) and self.parts["company"]:
            first, last = split_name(self.parts["company"])
            self.put("first_name", first, "from_company")
            self.put("last_name", last, "from_company")
        limits = self.rules.name_parts.get(self.parts["country"])
        words = f"{self.parts['first_name']} {self.parts['last_name']}".split()
        if limits and not (words and all(limits[0] <= len(word) <= limits[1] for word in words)):
            reason = f"Each word of a name must have {limits[0]} to {limits[1]} characters there."
            self.fault("last_name" if self.parts["last_name"] else "first_name", "name", reason)

    def lines(self) -> None:
        """Everything of both lines, in the lines there are."""
        most = self.rules.longest.get("line")
        if not self.rules.line2 and self.parts["line2"]:
            self.put("line", ", ".join(part for part in (self.parts["line"], self.parts["line2"]) if part), "joined")
            self.put("line2", "", "joined")
        if most is None or len(self.parts["line"]) <= most:
            return
        if self.rules.line2 and not self.parts["line2"]:
            head, _, rest = self.parts["line"][: most + 1].rpartition(" ")
            if head:
                whole = self.parts["line"]
                self.put("line", head, "split")
                self.put("line2", f"{rest}{whole[most + 1 :]}".strip(), "split")
        else:
            self.put("line", _shortened(self.parts["line"], most), "abbreviated")

    def postcode(self) -> None:
        """The form that postcodes of the country have."""
        given, country = self.parts["postcode"], self.parts["country"]
        if not (self.rules.postcodes and given and country):
            return
        found = postcode_of(given, country)
        if found is None:
            self.fault("postcode", "postcode", f"Postcodes of {country} look like {example_of(country)}.")
        else:
            self.put("postcode", found[0], found[1] or "spaces")

    def phone(self) -> None:
        """Digits alone, where that is wanted, and the country's calling code apart."""
        given, country = self.parts["phone"], self.parts["country"]
        if self.rules.phone == "any" or not given:
            return
        digits = re.sub(r"\D", "", given)
        abroad = given.lstrip().startswith("+") or digits.startswith("00")
        if digits.startswith("00"):
            digits = digits[2:]
        if self.rules.phone == "digits":
            self.put("phone", digits, "phone")
            return
        code = CALLING_CODES.get(country, "")
        said = re.sub(r"\D", "", self.parts["phone_country"])
        if abroad and not said:
            # The longest code it begins with: no calling code begins with another.
            said = next((one for one in {code, *CALLING_CODES.values()} if one and digits.startswith(one)), "")
            digits = digits.removeprefix(said)
        said = said or code
        if digits.startswith("0") and country not in KEEPS_ZERO:
            digits = digits[1:]
        if said:
            self.put("phone_country", f"+{said}", "phone")
        self.put("phone", digits, "phone")

    def province(self) -> None:
        """The town's name serves where a country's addresses have no province and a form wants one."""
        if (
            "province" in self.rules.needed
            and not self.parts["province"]
            and self.parts["country"] not in _WITH_PROVINCE
        ):
            self.put("province", self.parts["town"], "from_town")

    def check(self) -> None:
        """What is still missing, or too long."""
        for name in self.rules.needed:
            if not self.parts[name]:
                self.fault(name, "missing", f"This supplier needs it: {name}.")
        for name, most in self.rules.longest.items():
            if len(self.parts[name]) > most:
                self.fault(name, "too_long", f"{len(self.parts[name])} characters; this supplier takes {most}.")


# There the province is part of where something is, not a matter of a form.
_WITH_PROVINCE = frozenset(("AU", "BR", "CA", "CN", "ES", "IN", "IT", "JP", "MX", "US"))


def split_name(name: str) -> tuple[str, str]:
    """First name and the rest; of a single word, the last name alone. "Doe, John" is taken as it is meant."""
    if name.count(",") == 1:
        last, first = (part.strip() for part in name.split(","))
        if first and last:
            return first, last
    first, _, last = " ".join(name.split()).partition(" ")
    return (first, last) if last else ("", first)


def _shortened(line: str, most: int) -> str:
    """The line with usual abbreviations, as many as it takes, longest words first."""
    for word, short in sorted(_SHORT, key=lambda one: len(one[1]) - len(one[0])):
        if len(line) <= most:
            break
        line = (
            re.sub(rf"(?<!\w){word}(?!\w)", short, line, flags=re.I) if word[0] != "s" else _street(line, word, short)
        )
    return line


def _street(line: str, word: str, short: str) -> str:
    """German streets end in the word; others are words of their own."""
    before = r"" if word.startswith("str") and word.endswith(("ße", "asse")) else r"(?<!\w)"
    return re.sub(rf"{before}{word}(?!\w)", short, line, flags=re.I)
