"""What the tests of the feed readers share: text in, drafts and errors out."""

import io
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

import pytest

from services.formats import delimited
from services.formats import read as feed
from services.formats.base import Draft, FeedRefused, Reading, RowError


def reading(text: str | bytes, *, encoding: str = "utf-8", currency: str | None = None) -> Reading:
    """Open a feed given as text."""
    data = text if isinstance(text, bytes) else text.encode(encoding)
    return delimited.read(io.BytesIO(data), default_currency=currency)


def split(found: Reading) -> tuple[list[Draft], list[RowError]]:
    """All drafts and all errors of a feed."""
    records = list(found.records)
    drafts = [record for record in records if isinstance(record, Draft)]
    return drafts, [record for record in records if isinstance(record, RowError)]


def read(
    text: str | bytes, *, encoding: str = "utf-8", currency: str | None = None
) -> tuple[list[Draft], list[RowError]]:
    """All drafts and all errors of a feed given as text."""
    return split(reading(text, encoding=encoding, currency=currency))


def drafts(text: str | bytes, *, encoding: str = "utf-8", currency: str | None = None) -> list[Draft]:
    """All drafts of a feed that has no errors."""
    found, errors = read(text, encoding=encoding, currency=currency)
    assert errors == []
    return found


def any_feed(data: str | bytes, *, currency: str | None = None) -> Reading:
    """Open a feed of any format."""
    content = data if isinstance(data, bytes) else data.encode()
    return feed.read(io.BytesIO(content), default_currency=currency)


def any_drafts(data: str | bytes, *, currency: str | None = None) -> list[Draft]:
    """All drafts of a feed of any format that has no errors."""
    found, errors = split(any_feed(data, currency=currency))
    assert errors == []
    return found


def said(draft: Draft) -> dict[str, str]:
    """What a draft says, without where it stood."""
    return {name: value for name, value in draft._asdict().items() if value is not None and name != "line"}


def refusal(data: str | bytes) -> FeedRefused:
    """Why a feed is refused. Nothing of it may have been given out before."""
    with pytest.raises(FeedRefused) as caught:
        any_feed(data)
    return caught.value


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def _xlsx_cell(value: object) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value!r}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(str(value))}</t></is></c>'


def xlsx_of(sheets: dict[str, str], *, more: dict[str, str] | None = None, hidden: str | None = None) -> bytes:
    """A workbook of some sheets, each given as the XML of its rows; ``more`` are further parts."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as book:
        names, links = "", ""
        for number, (name, rows) in enumerate(sheets.items(), 1):
            state = ' state="hidden"' if name == hidden else ""
            names += f'<sheet name="{name}" sheetId="{number}"{state} r:id="r{number}"/>'
            links += f'<Relationship Id="r{number}" Type="{_LINKS}/worksheet" Target="worksheets/sheet{number}.xml"/>'
            sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'
            book.writestr(f"xl/worksheets/sheet{number}.xml", sheet)
        links += f'<Relationship Id="s" Type="{_LINKS}/sharedStrings" Target="sharedStrings.xml"/>'
        package = "http://schemas.openxmlformats.org/package/2006"
        types = '<Default Extension="xml" ContentType="application/xml"/>'
        book.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types">{types}</Types>')
        start = f'<Relationship Id="r" Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/>'
        book.writestr("_rels/.rels", f'<Relationships xmlns="{package}/relationships">{start}</Relationships>')
        whole = f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{names}</sheets></workbook>'
        book.writestr("xl/workbook.xml", whole)
        target = f'<Relationships xmlns="{package}/relationships">{links}</Relationships>'
        book.writestr("xl/_rels/workbook.xml.rels", target)
        for name, part in ({"xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}"/>'} | (more or {})).items():
            book.writestr(name, part)
    return held.getvalue()


def rows_of(rows: Sequence[Sequence[object]]) -> str:
    """Rows of values as the XML of a sheet; None is an empty cell."""
    return "".join(f'<row r="{number}">{"".join(map(_xlsx_cell, row))}</row>' for number, row in enumerate(rows, 1))


def xlsx(*rows: Sequence[object]) -> bytes:
    """A workbook with one sheet."""
    return xlsx_of({"Sheet1": rows_of(rows)})


def ods_of(rows: str) -> bytes:
    """An OpenDocument sheet, given as the XML of its rows."""
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr("META-INF/manifest.xml", "<manifest/>")
        book.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:spreadsheet>"
            f'<table:table table:name="A">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return held.getvalue()


def ods_row(*values: object, repeated: int = 1) -> str:
    """A row of an OpenDocument sheet."""
    cells = ""
    for value in values:
        kind = f'"float" office:value="{value}"' if isinstance(value, int | float) else '"string"'
        cells += f"<table:table-cell office:value-type={kind}><text:p>{value}</text:p></table:table-cell>"
    return f'<table:table-row table:number-rows-repeated="{repeated}">{cells}</table:table-row>'


def archive(members: dict[str, bytes], *, pack: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with some files in it."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", pack) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return held.getvalue()
