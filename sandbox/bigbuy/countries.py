"""Where BigBuy sends to, and what a postcode looks like there."""

import re

# Country → (zone, pattern of the postcode: N a digit, A a letter).
COUNTRIES = {
    "ES": (1, "NNNNN"),
    "PT": (1, "NNNN-NNN"),
    "FR": (2, "NNNNN"),
    "DE": (2, "NNNNN"),
    "IT": (2, "NNNNN"),
    "BE": (2, "NNNN"),
    "NL": (2, "NNNN AA"),
    "LU": (2, "NNNN"),
    "AT": (3, "NNNN"),
    "PL": (3, "NN-NNN"),
    "CZ": (3, "NNN NN"),
    "DK": (3, "NNNN"),
    "SE": (3, "NNN NN"),
    "FI": (3, "NNNNN"),
    "IE": (3, ""),
    "HU": (3, "NNNN"),
    "RO": (3, "NNNNNN"),
    "BG": (3, "NNNN"),
    "GR": (3, "NNN NN"),
    "HR": (3, "NNNNN"),
    "SI": (3, "NNNN"),
    "SK": (3, "NNN NN"),
    "EE": (3, "NNNNN"),
    "LV": (3, "LV-NNNN"),
    "LT": (3, "NNNNN"),
    "MT": (4, ""),
    "CY": (4, "NNNN"),
    "CH": (4, "NNNN"),
    "NO": (4, "NNNN"),
    "GB": (4, ""),
    # Known, but nothing is sent there: ER013.
    "US": (0, "NNNNN"),
    "AU": (0, "NNNN"),
    "CA": (0, ""),
    "BR": (0, "NNNNN-NNN"),
}


def fits(country: str, postcode: str) -> bool:
    """Whether the postcode has the country's form."""
    form = COUNTRIES[country][1]
    if not form:
        return bool(postcode.strip())
    pattern = "".join({"N": r"\d", "A": "[A-Z]"}.get(letter, re.escape(letter)) for letter in form)
    return re.fullmatch(pattern, postcode.strip().upper()) is not None
