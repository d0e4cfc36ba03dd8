"""The rows of a feed that were in error, as they stood in it, with what was wrong behind them: to be put right and sent
again. Nothing is kept for this: the stored file is read once more, as far as the last of these rows.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID

from sqlalchemy.orm import Session

from services.core.errors import NotFound, TooLarge
from services.formats import read
from services.formats.base import FeedRefused, Reading
from services.imports import queries
from services.imports.mappings import LARGEST, mapping_of, unpacked_size
from services.imports.receive import FeedNotUsable
from services.imports.row_errors import KeptError, csv_line, kept_errors
from services.models import Import
from services.storage import get_storage

_BEHIND = ("error line", "error code", "error column", "error reason")
_LONGEST = 32_000  # characters of a cell: more does not fit into a spreadsheet's


class OriginalRowsGone(NotFound):
    """The file of this import has not been fetched yet, or is gone."""


class OriginalRowsTooLarge(TooLarge):
    """A file of this kind and size is not read again while you wait; its errors are there as CSV and JSON."""


def original_rows(session: Session, import_id: UUID) -> "OriginalRows":
    """What is needed to write the rows, out of the database. Raises ImportNotFound, OriginalRowsGone."""
    import_ = queries.get_operation(session, import_id).import_
    if import_.storage_key is None or import_.file_removed_at is not None:
        raise OriginalRowsGone
    return OriginalRows(session, import_)


class OriginalRows:
    """The rows in error of one import; the database is not needed any more when they are read."""

    def __init__(self, session: Session, import_: Import) -> None:
        self._key, self._merchant_id, self._currency = import_.storage_key or "", import_.merchant_id, import_.currency
        self._mapping = mapping_of(import_)
        self._errors: dict[int, list[KeptError]] = {}
        for error in kept_errors(session, import_):
            session.expunge(error)
            self._errors.setdefault(error.line, []).append(error)

    def lines(self) -> Iterator[str]:
        """The lines of a CSV that is safe to open in a spreadsheet, one for each row in error.

        Raises FeedNotUsable, OriginalRowsTooLarge, FileMissing, StorageAway, all of them
        before the first line.
        """
        opened = ExitStack()
        try:
            file = opened.enter_context(get_storage().open(self._key, merchant_id=self._merchant_id))
            kind, size, _ = unpacked_size(file)
            if kind != "text" and size > LARGEST:
                raise OriginalRowsTooLarge(max_bytes=LARGEST)
            reading = read.read(file, default_currency=self._currency, mapping=self._mapping)
        except FeedRefused as refused:
            opened.close()
            raise FeedNotUsable(refused) from refused
        except BaseException:
            opened.close()
            raise
        return self._lines(opened, reading)

    def _lines(self, opened: ExitStack, reading: Reading) -> Iterator[str]:
        with opened:
            names = [*reading.headers]
            yield csv_line((*names, *_BEHIND))
            left = dict(self._errors)
            last = max(left, default=0)
            for line, cells in reading.rows() if reading.rows and left else ():
                if line in left:
                    yield self._line(cells, len(names), left.pop(line))
                if line >= last:
                    break
            for errors in left.values():  # rows that cannot be told apart from what is around them
                yield self._line([], len(names), errors)

    @staticmethod
    def _line(cells: list[str], width: int, errors: list[KeptError]) -> str:
        shown = [cell[:_LONGEST] for cell in cells[:width]]
        rest = " | ".join(cell for cell in cells[width:] if cell)[:_LONGEST]
        if rest:
            shown[-1] = f"{shown[-1]} | {rest}"[:_LONGEST]
        shown += [""] * (width - len(shown))
        reasons = (
            str(errors[0].line),
            "; ".join(dict.fromkeys(error.code for error in errors)),
            "; ".join(dict.fromkeys(error.column for error in errors if error.column)),
            " ".join(dict.fromkeys(error.reason for error in errors)),
        )
        return csv_line((*shown, *reasons))
