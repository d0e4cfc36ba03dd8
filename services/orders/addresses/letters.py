"""Names and addresses in the letters a supplier can print: other alphabets by their usual transcription.

Greek follows ELOT 743 and Cyrillic the tables of passports, letter by letter; scripts that do not go letter by letter
(Chinese, Arabic …) are left to people.
"""

import unicodedata
from typing import Literal

Letters = Literal["any", "latin", "ascii"]


def _table(pairs: str) -> dict[str, str]:
    """Letter → what is written for it."""
    return {letter: written for letter, _, written in (pair.partition("=") for pair in pairs.split())}


_CYRILLIC = _table(
    "а=a б=b в=v г=g д=d е=e ж=zh з=z и=i й=y к=k л=l м=m н=n о=o п=p р=r с=s т=t у=u ф=f х=kh ц=ts ч=ch "
    "ш=sh щ=shch ъ= ы=y ь= э=e ю=yu я=ya ё=e і=i ї=yi є=ye ґ=g ў=u ј=j љ=lj њ=nj ћ=c ђ=dj џ=dz ѓ=g ќ=k "
    "ѕ=dz"
)
# Where the same letter is written otherwise.
_OF_COUNTRY = {
    "UA": _table("и=y г=h х=kh"),
    "BG": _table("щ=sht х=h ъ=a"),
    "RS": _table("ж=z х=h ц=c ч=c ш=s"),
}
_GREEK = _table(
    "α=a β=v γ=g δ=d ε=e ζ=z η=i θ=th ι=i κ=k λ=l μ=m ν=n ξ=x ο=o π=p ρ=r σ=s τ=t υ=y φ=f χ=ch ψ=ps ω=o ς=s"
)
_GREEK_PAIRS = (("ου", "ou"), ("ού", "ou"), ("Ου", "Ou"), ("Ού", "Ou"), ("ΟΥ", "OU"))
_LATIN = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "ħ": "h", "ŋ": "ng",
    "ŧ": "t", "ĳ": "ij", "ŀ": "l", "ẞ": "SS", "ə": "e",
}  # fmt: skip
_SIGNS = {
    "’": "'", "‘": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "–": "-", "—": "-",
    "‐": "-", "‑": "-", "−": "-", "…": "...", "·": ".", "•": "-", "№": "No.", "º": "o", "ª": "a", "°": "o", "€": "EUR",
    "£": "GBP", "¿": "", "¡": "", "×": "x",
}  # fmt: skip
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue"}
_GERMAN = frozenset(("DE", "AT", "CH", "LI", "LU"))


def transcribed(text: str, letters: Letters, *, country: str = "") -> str | None:
    """The text in those letters; None when it has some that no table of ours knows.

    Signs that are no part of an address (control characters, emoji) are left away in any case.
    """
    made: list[str] = []
    text = unicodedata.normalize("NFC", text)
    if letters != "any":
        for pair, written_so in _GREEK_PAIRS:
            text = text.replace(pair, written_so)
    for sign in text:
        kind = unicodedata.category(sign)
        if kind in ("Cc", "Cf", "So", "Sk", "Cs", "Co", "Cn") and sign not in _SIGNS:
            made.append(" " if sign.isspace() else "")
        elif _allowed(sign, letters):
            made.append(sign)
        else:
            written = _written(sign, country)
            if written is None:
                return None
            made.append(written)
    return " ".join("".join(made).split())


def _allowed(sign: str, letters: Letters) -> bool:
    if letters == "any" or sign.isascii():
        return True
    return letters == "latin" and (sign in "ºª°" or unicodedata.name(sign, "").startswith("LATIN "))


def _written(sign: str, country: str) -> str | None:
    if sign in _SIGNS:
        return _SIGNS[sign]
    small = sign.lower()
    if country in _GERMAN and small in _UMLAUTS:
        return _cased(_UMLAUTS[small], sign)
    for table in (_OF_COUNTRY.get(country, {}), _LATIN, _CYRILLIC, _GREEK):
        if small in table:
            return _cased(table[small], sign)
    base = unicodedata.normalize("NFKD", sign)[:1]
    if base and base != sign:
        return base if base.isascii() else _written(base, country)
    name = unicodedata.name(sign, "")
    if name.startswith("LATIN ") and " WITH " in name:  # strokes and hooks that do not come apart
        letter = name.partition(" WITH ")[0].rpartition(" ")[2]
        return _cased(letter.lower(), sign) if len(letter) == 1 else None
    return " " if unicodedata.category(sign).startswith("Z") else None


def _cased(written: str, sign: str) -> str:
    return written.capitalize() if sign.isupper() else written
