"""What kind of file this is: refuse what is no text table, and find the encoding of what is.

The whole file is looked at once, because one wrong byte in the last megabyte must not stop an import that has
already begun. Looking is fast: plain ASCII goes at the speed of the disk.
"""

import codecs
import io
import re
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from services.formats.base import FeedRefused

SAMPLE = 256 * 1024  # bytes: what header, delimiter and number habits are learned from
_CHUNK = 1024 * 1024

_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive or an Excel (xlsx) workbook"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel (xls) workbook"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"(\xb5/\xfd", "a zstd archive"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
)
_MARKS = (  # utf-32 before utf-16: its mark begins like the other's
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f]")
_HIGH = re.compile(rb"[\x80-\xff]")
_HIGH_RUNS = re.compile(rb"[\x80-\xff]+").findall
_ENOUGH_PAIRS = 6

# The letters each language adds to A-Z. The right code page turns the bytes of a text into letters of one language.
_CODE_PAGES = {
    "cp1252": ("äöüßÄÖÜ", "éèêàçùâîôûëïœæÉÈÊÀÇÔÂÎ", "áéíóúñü¿¡ÁÉÍÓÚÑ", "àèéìòùÀÈÉ", "åäöÅÄÖ", "æøåÆØÅ",
               "ãõçáéíóúâêôàÇÃ"),
    "cp1254": ("çğıöşüÇĞİÖŞÜ",),
    "cp1250": ("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "áčďéěíňóřšťúůýžÁČĎÉĚÍŇÓŘŠŤÚŮÝŽ", "áäčďéíĺľňóôŕšťúýžČĎĽŠŤŽ", "áéíóöőúüűÁÉÍÓÖŐÚÜŰ",
               "ăâîşţĂÂÎŞŢ", "čćđšžČĆĐŠŽ"),
    "iso-8859-2": ("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "áčďéěíňóřšťúůýžÁČĎÉĚÍŇÓŘŠŤÚŮÝŽ", "áäčďéíĺľňóôŕšťúýžČĎĽŠŤŽ"),
    "cp1251": ("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЁІЇЄҐ№",),
    "cp1253": ("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΆΈΉΊΌΎΏ",),
    "koi8-r": ("абвгдежзийклмнопрстуфхцчшщъыьэюяёАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЁ",),
}  # fmt: skip
_CYRILLIC = ("cp1251", "koi8-r")
_NOT_LATIN = (*_CYRILLIC, "cp1253")
_CAPITAL_INSIDE = re.compile(r"[^\W\d_a-zA-Z]{2,}").findall
_PUNCTUATION = frozenset("©®™°€£¥§„“”‘’‚–—…•«»·²³½¼¾×±µ¨´ \u00a0\u00ad")


class Sample(NamedTuple):
    """The beginning of a file as text with ``\\n`` line ends, and whether that is all of it."""

    text: str
    complete: bool


def refuse_binary(head: bytes) -> None:
    """Raise FeedRefused ``binary`` or ``empty`` for the first bytes of a file that is no text."""
    if not head:
        raise FeedRefused("empty", "The file is empty.")
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise FeedRefused("binary", f"This is {what}, not a text table.")
    # One stray control byte is a damaged cell; many are a binary file.
    if not wide_encoding(head) and len(_CONTROL.findall(head)) * 100 > len(head):
        raise FeedRefused("binary", "The file holds binary data, not text.")


def wide_encoding(head: bytes) -> str | None:
    """utf-16/32 by byte order mark, or by where the zero bytes stand (digits and delimiters have one each)."""
    for mark, encoding in _MARKS[1:]:
        if head.startswith(mark):
            return encoding
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) * 5 > len(head) // 2 and min(even, odd) == 0 and len(head) > 3:
        return "utf-16-le" if odd else "utf-16-be"
    return None


def encoding(stream: BinaryIO) -> tuple[str, bool]:
    """The codec to read a stream with, and whether every byte fits it (if not, characters are replaced).

    Raises FeedRefused ``empty``, ``binary`` or ``undecodable``. The position of the stream is not kept.
    """
    stream.seek(0)
    head = stream.read(8192)
    refuse_binary(head)
    wide = wide_encoding(head)
    if wide:
        return wide, False
    stream.seek(0)
    damage = _not_utf8(stream)
    if damage is None:
        return ("utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"), True
    sequences, strays = len(_MULTIBYTE.findall(damage)), len(_HIGH.findall(_MULTIBYTE.sub(b"", damage)))
    if head.startswith(codecs.BOM_UTF8) or sequences > 5 * strays:
        return "utf-8-sig", False  # UTF-8 with a few broken characters
    return _legacy(damage), False


def _not_utf8(stream: BinaryIO) -> bytes | None:
    """None if the stream is UTF-8 throughout, else the places with bytes beyond ASCII, up to 128 KB of them."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen: list[bytes] = []
    room, failed = 64 * 1024, False
    while chunk := stream.read(_CHUNK):
        if chunk.isascii() and (failed or not decoder.getstate()[0]):
            continue
        if not failed:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                failed, room = True, room + 64 * 1024
        room -= _collect(chunk, room, seen)
        if failed and room <= 0:
            break
    if not failed:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            failed = True
    return b"\n".join(seen) if failed else None


def _collect(chunk: bytes, room: int, seen: list[bytes]) -> int:
    """Add the lines with bytes beyond ASCII to ``seen``, cut to what lies around the byte; how much was added."""
    added = at = 0
    while added < room and (found := _HIGH.search(chunk, at)):
        start = max(chunk.rfind(b"\n", 0, found.start()) + 1, found.start() - 200, at)
        at = min(chunk.find(b"\n", found.start()) % (len(chunk) + 1), found.start() + 400)
        at = max(at, found.start() + 1)
        seen.append(chunk[start:at])
        added += at - start
    return added


def _legacy(sample: bytes) -> str:
    """The code page of bytes that are not UTF-8. Raises FeedRefused ``undecodable``."""
    japanese = sample.decode("cp932", "replace")
    kana = sum("\u3040" <= sign <= "\u30ff" for sign in japanese)
    wide = sum(sign > "\x7f" for sign in japanese)
    if wide and kana * 4 >= wide and japanese.count("\ufffd") * 50 <= wide:
        return "cp932"
    if paired := _in_pairs(sample):
        return paired
    high = len(_HIGH.findall(sample))
    # Cyrillic words are bytes beyond ASCII throughout; in Latin words such bytes stand alone.
    together = len(re.findall(rb"(?<=[\x80-\xff])[\x80-\xff]", sample)) * 2 > high
    scores = {name: _score(sample, name) for name in _CODE_PAGES if together or name not in _NOT_LATIN}
    best = max(scores, key=scores.__getitem__)
    if scores[best] >= 0.6:
        return best
    from charset_normalizer import from_bytes

    guess = from_bytes(sample).best()
    if guess is None or sample.decode(guess.encoding, "replace").count("\ufffd") * 10 > high:
        raise FeedRefused("undecodable", "The character encoding cannot be recognised. Save the file as UTF-8.")
    return guess.encoding


def _in_pairs(sample: bytes) -> str | None:
    """The encoding of Chinese, Korean or Japanese (EUC) text, in which bytes beyond ASCII come in pairs only.

    Most of what is written are the commoner signs, which stand together: so the first bytes of the pairs tell. The
    second ones are anything, while small Russian letters of koi8-r stand together.
    """
    runs = _HIGH_RUNS(sample)
    leads, trails = (b"".join(run[start::2] for run in runs) for start in (0, 1))
    if len(leads) < _ENOUGH_PAIRS or sum(len(run) % 2 for run in runs) * 10 > len(runs):  # what is cut may be odd
        return None

    def share(of: bytes, first: int, last: int) -> float:
        return sum(first <= one <= last for one in of) / len(leads)

    if share(trails, 0xC0, 0xDF) > 0.9:
        return None
    if share(leads, 0xA4, 0xA5) > 0.25:
        return "euc_jp"
    if share(leads, 0xB0, 0xC8) > 0.95:
        return "cp949"
    return "gb18030" if share(leads, 0xB0, 0xD7) > 0.6 else None


def _score(sample: bytes, name: str) -> float:
    """How well the characters beyond ASCII are letters of one language of this code page, and of any of them."""
    signs = [sign for sign in sample.decode(name, "replace") if sign > "\x7f" and sign not in _PUNCTUATION]
    if not signs:
        return 1.0
    best = max(sum(sign in letters for sign in signs) for letters in map(frozenset, _CODE_PAGES[name]))
    every = frozenset().union(*_CODE_PAGES[name])
    fitting = 0.7 * best + 0.3 * sum(sign in every for sign in signs)  # lists of brands mix languages
    # In Cyrillic words small letters follow: koi8-r and cp1251 differ by exactly that.
    small = sum(sign.islower() for sign in signs) / len(signs) if name in _CYRILLIC else 1.0
    if name in _NOT_LATIN:  # letters with an accent, in Greek, are capitals in Cyrillic
        words = _CAPITAL_INSIDE(sample.decode(name, "replace"))
        odd = sum(any(a.islower() and b.isupper() for a, b in pairwise(word)) for word in words)
        fitting *= 1 - 0.5 * odd / max(1, len(words))
    return fitting / len(signs) * (1.0 if small > 0.4 else 0.5)


def sample(stream: BinaryIO, codec: str) -> Sample:
    """The first part of a file, ending with a whole line. Raises FeedRefused ``empty`` or ``not_delimited``."""
    stream.seek(0)
    raw = stream.read(SAMPLE)
    complete = len(raw) < SAMPLE
    text = codecs.getincrementaldecoder(codec)("replace").decode(raw, final=complete)
    text = io.IncrementalNewlineDecoder(None, translate=True).decode(text, final=True)
    if not text.strip("\ufeff \t\n\x1a"):
        raise FeedRefused("empty", "The file holds no text.")
    refuse_markup(text)
    if not complete:
        text, newline, _ = text.rpartition("\n")
        if not newline:
            raise FeedRefused("not_delimited", f"The first line is longer than {SAMPLE // 1024} KB: this is no table.")
    return Sample(text, complete)


_MARKUP = (
    (re.compile(r"<\?xml|<(?:rss|feed|yml_catalog|shop|products|items|catalog)\b", re.I), "XML"),
    (re.compile(r"<!doctype html|<(?:html|head|body|table|div|span|p|ul|script|style|meta)\b", re.I), "an HTML page"),
    (re.compile(r"<[!a-z]", re.I), "XML or HTML"),
    (re.compile(r'[\[{]\s*(?:["{\[\]}]|-?\d+\s*[,\]])'), "JSON"),
    (re.compile(r"%!PS"), "PostScript"),
)


def markup(text: str) -> str | None:
    """What kind of document a text is the beginning of, or None when it may be a table."""
    start = text[:2000].lstrip("\ufeff \t\r\n")
    return next((what for pattern, what in _MARKUP if pattern.match(start)), None)


def refuse_markup(text: str) -> None:
    """Raise FeedRefused ``not_delimited`` for a text that is a document of another kind."""
    what = markup(text)
    if what:
        raise FeedRefused("not_delimited", f"This looks like {what}, not a text table.")
