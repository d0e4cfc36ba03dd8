"""Countries as people write them, the form of their postcodes, and their calling codes.

Codes and English names are those of ISO 3166-1 as the time zone database carries them (`iso3166.tab`).
"""

import unicodedata
from functools import cache
from importlib import resources

from services.formats.numbers import word_set

# Other names, as channels spell them. Names of several countries ("Channel Islands") are none.
_ALIASES = {
    "AE": "uae",
    "AT": "österreich",
    "BA": "bosnia and herzegovina",
    "BE": "belgië, belgique, belgien",
    "BG": "българия",
    "CD": "democratic republic of the congo",
    "CH": "schweiz, suisse, svizzera",
    "CI": "ivory coast",
    "CY": "κύπρος",
    "CZ": "czechia, česko, česká republika",
    "DE": "deutschland, alemania, allemagne",
    "DK": "danmark",
    "EE": "eesti",
    "ES": "españa, espagne, spanien",
    "FI": "suomi",
    "FR": "frankreich, francia",
    "GB": "uk, united kingdom, great britain, britain, england, scotland, wales, northern ireland",
    "GR": "ελλάδα, hellas",
    "HR": "hrvatska",
    "HU": "magyarország",
    "IE": "eire, éire, republic of ireland",
    "IT": "italia, italien, italie",
    "KR": "south korea, korea, republic of korea",
    "LT": "lietuva",
    "LV": "latvija",
    "MK": "macedonia",
    "NL": "the netherlands, nederland, holland, niederlande, pays-bas, países bajos",
    "NO": "norge",
    "PL": "polska, polen, pologne",
    "RO": "românia",
    "RU": "russian federation",
    "SE": "sverige, schweden",
    "SI": "slovenija",
    "SK": "slovensko",
    "TR": "türkiye",
    "US": "usa, united states of america, u.s.a., u.s.",
    "VA": "holy see",
    "VN": "viet nam",
}
_NO_COUNTRY = ("AQ",)

# N is a digit, A a letter, X either; anything else stands as it is. The first form a postcode has is its form.
POSTCODES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("AT", "AU", "BE", "BG", "CH", "CY", "DK", "GE", "HU", "LI", "LU", "MK", "NO", "NZ", "PH", "SI", "TN", "ZA"),
        ("NNNN",),
    ),
    **dict.fromkeys(
        ("BA", "DE", "EE", "ES", "FI", "FR", "HR", "ID", "IT", "KR", "LT", "MC", "ME", "MX", "MY", "RS", "SM", "TH"),
        ("NNNNN",),
    ),
    **dict.fromkeys(("TR", "UA", "VA"), ("NNNNN",)),
    **dict.fromkeys(("CN", "IN", "KZ", "RO", "RU", "SG"), ("NNNNNN",)),
    **dict.fromkeys(("CZ", "GR", "SE", "SK"), ("NNN NN",)),
    "AD": ("ADNNN",),
    "BR": ("NNNNN-NNN",),
    "CA": ("ANA NAN",),
    "GB": ("AN NAA", "ANN NAA", "AAN NAA", "AANN NAA", "ANA NAA", "AANA NAA"),
    "IE": ("ANX XXXX",),
    "IL": ("NNNNNNN",),
    "IS": ("NNN",),
    "JP": ("NNN-NNNN",),
    "LV": ("LV-NNNN",),
    "MT": ("AAA NNNN",),
    "NL": ("NNNN AA",),
    "PL": ("NN-NNN",),
    "PT": ("NNNN-NNN",),
    "US": ("NNNNN", "NNNNN-NNNN"),
}
# Their postcodes may begin with 0, which spreadsheets take away.
ZERO_FIRST = word_set("AU CZ DE ES FI FR GR IT JP MX NO PL RO SK US")

CALLING_CODES = {
    "AT": "43", "AU": "61", "BE": "32", "BG": "359", "BR": "55", "CA": "1", "CH": "41", "CL": "56", "CN": "86",
    "CY": "357", "CZ": "420", "DE": "49", "DK": "45", "EE": "372", "ES": "34", "FI": "358", "FR": "33", "GB": "44",
    "GR": "30", "HR": "385", "HU": "36", "IE": "353", "IL": "972", "IN": "91", "IS": "354", "IT": "39", "JP": "81",
    "KR": "82", "LI": "423", "LT": "370", "LU": "352", "LV": "371", "MC": "377", "MT": "356", "MX": "52", "NL": "31",
    "NO": "47", "NZ": "64", "PL": "48", "PT": "351", "RO": "40", "RS": "381", "SA": "966", "SE": "46", "SI": "386",
    "SK": "421", "TR": "90", "UA": "380", "US": "1", "ZA": "27",
}  # fmt: skip
# Where the 0 before an area code belongs to the number from abroad too.
KEEPS_ZERO = frozenset(("IT", "SM", "VA"))


def _plain(name: str) -> str:
    split = unicodedata.normalize("NFKD", name.casefold())
    return "".join(sign for sign in split if sign.isalnum())


@cache
def _names() -> dict[str, str]:
    table = (resources.files("tzdata") / "zoneinfo" / "iso3166.tab").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in table.splitlines() if line and not line.startswith("#")]
    known = {_plain(name.replace("&", "and")): code for code, name in rows} | {
        _plain(name): code for code, name in rows
    }
    known |= {_plain(name): code for code, names in _ALIASES.items() for name in names.split(",")}
    return {name: code for name, code in known.items() if code not in _NO_COUNTRY} | {
        code.casefold(): code for code, _ in rows if code not in _NO_COUNTRY
    }


@cache
def countries() -> frozenset[str]:
    """The codes there are."""
    return frozenset(_names().values())


def country_named(text: str) -> str | None:
    """The ISO 3166-1 code of a code or name, or None."""
    return _names().get(_plain(text)) if len(text) <= 100 else None


def postcode_of(text: str, country: str) -> tuple[str, str | None] | None:
    """The postcode in its country's form, and what was done for it; None: it has no such form.

    What was done is ``punctuation``, ``zero`` or ``prefix``. Any postcode is right where no form is known.
    """
    forms = POSTCODES.get(country)
    given = " ".join(text.upper().split())
    if forms is None:
        return given, None
    for form in forms:
        if found := _in_form(given, form):
            return found, None if found == text else "punctuation"
    bare = "".join(sign for sign in given if sign.isalnum())
    for prefix in (country, country[:1]):
        if bare.startswith(prefix) and forms[0][0] == "N":
            for form in forms:
                if found := _in_form(bare.removeprefix(prefix), form):
                    return found, "prefix"
    if country == "LV" and (found := _in_form(f"LV{bare}", forms[0])):
        return found, "prefix"
    digits = sum(sign == "N" for sign in forms[0])
    if country in ZERO_FIRST and bare.isdigit() and len(bare) == digits - 1:
        return _in_form(f"0{bare}", forms[0]) or "", "zero"
    return None


def _in_form(text: str, form: str) -> str | None:
    """The text with the form's punctuation, if its letters and digits are those of the form."""
    signs = iter([sign for sign in text if sign.isalnum() and sign.isascii()])
    if any(not (sign.isalnum() and sign.isascii()) and sign not in " -." for sign in text):
        return None
    made = []
    literal = form[: form.find("N")] if form.startswith(("LV", "AD")) else ""
    for place, wanted in enumerate(form):
        if not wanted.isalnum():
            made.append(wanted)
            continue
        sign = next(signs, "")
        fits = (
            sign == wanted
            if place < len(literal)
            else {"N": sign.isdigit(), "A": sign.isalpha(), "X": sign.isalnum()}[wanted]
        )
        if not fits:
            return None
        made.append(sign)
    return None if next(signs, "") else "".join(made)


def example_of(country: str) -> str:
    """The form of the country's postcodes, for people."""
    return " or ".join(POSTCODES.get(country, ("any",)))
