"""Rows between the products of a price list that head those below them: the name of a category, and nothing else."""

from collections.abc import Callable, Iterable, Iterator

from services.formats import headers
from services.formats.numbers import word_set

SECTION = "Category (rows between the products)"
_NAMES_PRODUCT = word_set("title sku id mpn")
_NUMBERS = word_set("sku id mpn")
_MONEY = word_set("price sale compare_at_price cost")

Numbered = tuple[int, list[str]]


class Sections:
    """Rows that stand above the products they head: a name, perhaps its number, and nothing else.

    The name stands where the products' names do or, as in cells merged over all columns, in the first one. A row with
    a name alone may also be a product without a price. It is a heading where at least half of the rows say more, and
    at least half of those have a price. Where headings have to stand ``alone``, as in text (whose writers leave out
    what they like), only a row of one cell is one, in tables of numbers and names.

    ``any`` says whether there are headings, ``column`` is the column that they become.
    """

    def __init__(self, names: list[str], sample: list[list[str]], *, alone: bool = False) -> None:
        said = headers.meanings(names)
        fields = [one.field if one else None for one in said]
        width = len(fields)
        self._names = [index for index, field in enumerate(fields) if field in _NAMES_PRODUCT]
        self._titled = "title" in fields
        self._title = fields.index("title") if self._titled else 0
        others = [index for index in range(width) if index not in self._names and index != self._title]
        money = [index for index in others if fields[index] in _MONEY]
        self._others = others
        if alone:
            numbered = any(field in _NUMBERS for field in fields)
            self._others = [index for index in range(width) if index != self._title] if numbered else []
        said_more = [row for row in sample if not self.is_heading(row)]
        priced = sum(any(row[index].strip() for index in money) for row in said_more)
        if not money or priced * 2 < len(said_more) or len(said_more) * 2 < len(sample):
            self._others = []
        self.any = any(self.is_heading(row) for row in sample)
        self.column = [SECTION] if self.any and "category" not in fields and SECTION not in names else []

    def is_heading(self, row: list[str]) -> bool:
        """Whether a row is a heading and no product."""
        if not self._others:
            return False
        if row[self._title].strip():
            return not any(row[index].strip() for index in self._others)
        filled = [index for index, cell in enumerate(row) if cell.strip()]
        return (
            len(filled) == 1
            and self._titled
            and (filled[0] == 0 or filled[0] in self._names)
            and _is_name(row[filled[0]])
        )

    def apply(self, rows: Iterable[Numbered]) -> Iterator[Numbered]:
        """The products, each with the headings above it as a further cell."""
        is_product = self.placing()
        return ((number, row) for number, row in rows if is_product(row))

    def placing(self) -> Callable[[list[str]], bool]:
        """What is asked about each row in turn: whether it is a product, which then gets its headings' cell."""
        path: list[tuple[int, str]] = []

        def is_product(row: list[str]) -> bool:
            if self.is_heading(row):
                self._enter(path, row[self._title] if row[self._title].strip() else max(row, key=len))
                return False
            if self.column:
                row.insert(-1, " > ".join(name for _, name in path))
            return True

        return is_product

    @staticmethod
    def _enter(path: list[tuple[int, str]], cell: str) -> None:
        """Headings are indented by their depth. One that is not, below some that are, is the lowest of them."""
        name = cell.strip()
        depth = len(cell) - len(cell.lstrip())
        indented = any(0 < one < 10**6 for one, _ in path)
        if depth == 0 and indented:
            depth = 10**6
        while path and path[-1][0] >= depth:
            path.pop()
        path.append((depth, name))


def _is_name(cell: str) -> bool:
    """Whether a cell that stands alone is a name, and not the number of an article of which nothing else is said."""
    text = cell.strip()
    return any(map(str.isalpha, text)) and (" " in text or not any(map(str.isdigit, text)))
