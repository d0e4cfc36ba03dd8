"""XML feeds: one safe way to read them, and the dialects.

No entity is resolved, no DTD is loaded and nothing is fetched; a document that declares entities is refused. The parser
is given the file piece by piece and every record is thrown away once it has been read, so memory does not grow with it.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal, NamedTuple

from services.formats import flat, headers, packed, sniff, trees
from services.formats.base import FeedRefused, Reading
from services.formats.mapping import Mapping
from services.formats.table import IDENTIFYING, MOST_COLUMNS

_CHUNK = 64 * 1024
_HEAD = 1024 * 1024  # bytes in which the records of a feed that nobody has described must show
_SPREADSHEET = "urn:schemas-microsoft-com:office:spreadsheet"
GOOGLE = "http://base.google.com/ns/1.0"
_DECLARED = re.compile(r"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")


class Shape(NamedTuple):
    """What the beginning of a document shows."""

    root: str  # local name
    namespaces: frozenset[str]
    names: frozenset[str]  # local names of all elements seen
    repeated: str | None  # the element that looks like one record each
    nested: bool = False  # whether its variants are elements in it


class Markup(NamedTuple):
    """A dialect of XML: the elements that are records (or tell something about them), and how they are read."""

    recognises: Callable[[Shape], bool]
    records: Callable[[Shape], tuple[str, ...]]  # local names
    dialect: trees.Dialect


def dialects() -> tuple[Markup, ...]:
    """In this order; the last takes every document with a repeated element."""
    from services.formats import bmecat, ceneo, heureka, wxr, yml

    return (
        Markup(wxr.recognises, lambda _: ("item", "term"), wxr.DIALECT),
        Markup(yml.recognises, lambda _: ("offer", "category"), yml.DIALECT),
        Markup(heureka.recognises, lambda _: ("SHOPITEM", "ITEM"), heureka.DIALECT),
        Markup(ceneo.recognises, lambda _: ("o",), ceneo.DIALECT),
        Markup(bmecat.recognises, lambda _: bmecat.RECORDS, bmecat.DIALECT),
        Markup(_is_google, lambda shape: ("entry" if shape.root == "feed" else "item",), _GOOGLE),
        Markup(lambda shape: shape.nested, lambda shape: (str(shape.repeated),), _NESTED),
        Markup(lambda shape: shape.repeated is not None, lambda shape: (str(shape.repeated),), _ANY),
    )


def _is_google(shape: Shape) -> bool:
    # Feeds also write all names without the prefix and do not declare it.
    return shape.root in ("rss", "feed", "RDF") and (
        GOOGLE in shape.namespaces or {"price", "id"} <= shape.names or {"price", "image_link"} <= shape.names
    )


_GOOGLE = trees.Dialect(
    "google_xml",
    flat.learn(
        lambda element: ((flat.of_element(element, "{" + GOOGLE + "}"), None),),
        "The items of this feed",
    ),
    priced=True,
)
_ANY = trees.Dialect(
    "generic_xml",
    flat.learn(lambda element: ((flat.of_element(element), None),), "The repeated elements"),
)

_NESTED = trees.Dialect("generic_xml", flat.learn(flat.element_with_variants, "The repeated elements"))


def read(stream: BinaryIO, *, default_currency: str | None = None, mapping: Mapping | None = None) -> Reading:
    """Recognise a seekable stream of XML and read it.

    The records are read as they are asked for; until then the stream must stay open and untouched. Raises FeedRefused
    with the code ``xml_broken``, ``xml_entities``, ``record_too_large``, ``too_many_columns``, ``no_product_columns``
    or ``no_records``.
    """
    stream.seek(0)
    head = stream.read(_HEAD)
    encoding = _encoding(head)
    _refuse_entities(head, encoding)
    shape = _shape(head[_blank(head) :])
    if _SPREADSHEET in shape.namespaces:
        raise FeedRefused("no_product_columns", "This is a spreadsheet that was saved as XML (2003): save it as xlsx.")
    found = next((one for one in dialects() if one.recognises(shape)), None)
    names = found.records(shape) if found else ()
    if mapping and mapping.record:
        found, names = Markup(lambda _: True, lambda _: (), _ANY), (flat.local(mapping.record),)

    def records() -> Iterator[Any]:
        return _elements(stream, tuple(f"{{*}}{name}" for name in names) or ("{*}nothing",))

    if found is None:
        for _ in records():  # a broken file is called broken, whatever it holds
            pass
        raise FeedRefused("no_records", f"No element of this XML document ({shape.root}) is repeated: no products.")
    return trees.reading(
        found.dialect,
        records,
        encoding=encoding,
        default_currency=default_currency,
        done=packed.done_of(stream),
        mapping=mapping,
    )


def refuse_head(head: bytes) -> None:
    """Raise FeedRefused ``xml_entities`` or ``undecodable`` if the beginning of a document shows it."""
    _refuse_entities(head, _encoding(head))


def _parser(tags: tuple[str, ...] | None, events: tuple[Literal["start", "end"], ...]) -> Any:
    from lxml import etree

    return etree.XMLPullParser(
        events=events,
        tag=tags,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )


def _elements(stream: BinaryIO, tags: tuple[str, ...]) -> Iterator[Any]:
    """Each element with one of these names, complete, and valid only until the next is asked for."""
    from lxml import etree

    parser = _parser(tags, ("end",))
    names = {tag[3:] for tag in tags}
    stream.seek(0)
    start = stream.read(_CHUNK)
    blank = _blank(start)
    position = since = blank
    count = 0
    outside: Any = ...  # an element that is not in a record; its children are looked at no more
    stream.seek(position)
    try:
        while True:
            chunk = stream.read(_CHUNK)
            if chunk:
                parser.feed(chunk)
            else:
                parser.close()
            for _, element in parser.read_events():
                parent = element.getparent()
                if parent is not outside:
                    if any(one.tag.rpartition("}")[2] in names for one in element.iterancestors()):
                        continue  # a part of a record that is called like a record
                    outside = parent
                if not count:
                    _refuse_declared(element)
                count += 1
                since = position
                yield element
                _forget(element)
            if not chunk:
                return
            position += len(chunk)
            if position - since > trees.LARGEST:
                raise FeedRefused(
                    "record_too_large",
                    f"Behind record {count:,} come more than {trees.LARGEST // 2**20} MB that belong to one record.",
                )
            stream.seek(position)  # whoever reads the records may have moved it
    except etree.XMLSyntaxError as error:
        (line, column), message = error.position, str(error.msg)
        log = parser.feed_error_log
        if not line and len(log):  # what is not defined is only said there
            line, column, message = log[0].line, log[0].column, log[0].message
        line += start[:blank].count(b"\n")
        reason = message.partition("\n")[0].partition(", line ")[0]
        raise FeedRefused("xml_broken", f"The XML is broken in line {line}, column {column}: {reason}.") from None


def _blank(head: bytes) -> int:
    """How many bytes stand before the document: programs print empty lines there, which XML does not allow."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head[:4]:
        return 0
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return len(head) - len(text) if not head.startswith(codecs.BOM_UTF8 + b"<") else 0


def _forget(element: Any) -> None:
    element.clear(keep_tail=False)
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]


def _refuse_declared(element: Any) -> None:
    dtd = element.getroottree().docinfo.internalDTD
    if dtd is not None and next(iter(dtd.iterentities()), None) is not None:
        raise _entities()


def _entities() -> FeedRefused:
    return FeedRefused("xml_entities", "The document declares entities of its own. Such documents are not read.")


def _refuse_entities(head: bytes, encoding: str) -> None:
    """Refuse a document that declares entities, before any parser sees it."""
    text = head.decode(encoding, "replace")
    # The declarations stand before the first element; "<!" is never followed by its name.
    root = re.search(r"<[^\s!?<>]", re.sub(r"<!--.*?-->", "", text, flags=re.S))
    if "<!ENTITY" in (text[: root.end()] if root else text):
        raise _entities()


def _encoding(head: bytes) -> str:
    """The codec of a document, for showing and for looking into its beginning; the parser finds its own."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    wide = sniff.wide_encoding(head[:8192])
    if wide:
        return wide
    declared = _DECLARED.match(head[_blank(head) :][:200].decode("latin-1"))
    try:
        return codecs.lookup(declared[1]).name if declared else "utf-8"
    except LookupError:
        raise FeedRefused("undecodable", "The encoding that the document names is not known.") from None


def _shape(head: bytes) -> Shape:
    from lxml import etree

    parser = _parser(None, ("start", "end"))
    above: list[str] = []
    namespaces: set[str] = set()
    parts: dict[str, dict[str, None]] = {}  # name → the names of its children and attributes
    counts: dict[str, int] = {}
    holders: dict[str, str] = {}  # name of a variant → of the element whose variants it and its likes are
    root = ""
    try:
        for at in range(0, len(head), _CHUNK):
            parser.feed(head[at : at + _CHUNK])
            for event, element in parser.read_events():
                if event == "end":
                    above.pop()
                    continue
                name = flat.local(element.tag)
                root = root or name
                if len(above) < 3:
                    namespaces.update(uri for uri in element.nsmap.values() if uri)
                if above:
                    parts[above[-1]][name] = None
                    if flat.is_variants(name) or (above[-1] == flat.SIZES and flat.is_size(element)):
                        outer = (one for one in reversed(above) if one != flat.SIZES and not flat.is_variants(one))
                        holders.setdefault(name, next(outer, root))
                counts[name] = counts.get(name, 0) + 1
                parts.setdefault(name, {}).update((flat.local(key), None) for key in element.attrib)
                above.append(name)
    except etree.XMLSyntaxError:
        pass  # reported, with its position, by whoever reads the file
    repeated = _record_name(parts, counts)
    holder = holders.get(repeated or "", root)
    if holder == root:
        return Shape(root, frozenset(namespaces), frozenset(parts), repeated, repeated in holders.values())
    return Shape(root, frozenset(namespaces), frozenset(parts), holder, True)


def _record_name(parts: dict[str, dict[str, None]], counts: dict[str, int]) -> str | None:
    """The element whose children and attributes say the most about a product."""
    best: tuple[int, int] = (1, 0)
    found = None
    for name, inside in parts.items():
        fields = {said.field for said in headers.meanings(list(inside)[:MOST_COLUMNS]) if said}
        if fields & IDENTIFYING and (len(fields), counts[name]) > best:
            best, found = (len(fields), counts[name]), name
    return found
