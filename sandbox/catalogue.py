"""A catalogue of any size out of a seed: every product is computed from its number, none is stored.

Stock and prices drift: each article changes at moments of its own, about `stock_drift` of all articles' stock in an
hour and `price_drift` of all products' prices in a day. What an article has at a moment follows from seed and moment
alone, so the same seed and the same time give the same world again.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

MAX_PRODUCTS = 500_000
MAX_CHANGES = 200_000
MAX_VARIANTS = 8
UNITS = MAX_VARIANTS + 1  # numbers kept for one product's articles: itself and its variants

# When the supplier opened: no date lies before.
OPENED = 1_577_836_800.0  # 2020-01-01
_AGE_SPREAD = 5 * 365 * 86_400


@dataclass(slots=True)
class Article:
    """Something that can be bought: a product without variants, or a variant. Prices in cents."""

    unit: int  # its number in the catalogue
    variant: int  # 0: the product itself, else 1 … 8
    wholesale: int
    stock: int
    stock_changed: float


@dataclass(slots=True)
class Change:
    """What a test said about a product or a variant; None leaves what the seed says."""

    stock: int | None = None
    price: int | None = None  # wholesale, cents
    active: bool | None = None
    gone: bool | None = None  # listed nowhere
    at: float = OPENED  # since when


@dataclass(slots=True)
class Product:
    """One product at one moment; whatever has no name here is taken from `bits`."""

    index: int
    bits: bytes  # 32 random bytes that stay the same
    variants: int  # 0: is bought itself
    wholesale: int  # cents
    price_changed: float
    added: float
    active: bool


class Catalogue:
    """The products of one supplier."""

    def __init__(
        self, *, seed: int, salt: str, products: int, stock_drift: float = 0.01, price_drift: float = 0.02
    ) -> None:
        """`stock_drift`: share of articles whose stock changes in an hour; `price_drift`: of prices in a day."""
        self.products = products
        self._key = blake2b(f"{seed}:{salt}".encode(), digest_size=32).digest()
        self._stock_period = 3_600 / stock_drift if stock_drift else math.inf
        self._price_period = 86_400 / price_drift if price_drift else math.inf
        self.changes: dict[int, Change] = {}  # by unit
        self._sold: dict[int, tuple[int, int, float]] = {}  # unit → (number of its stock, sold of it, when)

    # -- chance ----------------------------------------------------------------------------------------------------

    def bits(self, number: int, turn: int = 0) -> bytes:
        """32 bytes that follow from the seed and these numbers."""
        return blake2b(number.to_bytes(8, "big") + turn.to_bytes(8, "big"), key=self._key, digest_size=32).digest()

    @staticmethod
    def _turn(at: float, period: float, share: float) -> tuple[int, float]:
        """The how-manieth period it is for someone whose periods are shifted by `share`, and when it began."""
        if period == math.inf:
            return 0, OPENED
        turn = int((at - OPENED) / period + share)
        return (turn, OPENED + (turn - share) * period) if turn > 0 else (0, OPENED)

    # -- products --------------------------------------------------------------------------------------------------

    def product(self, index: int, at: float) -> Product | None:
        """The product with that number as it is at that moment; None if there is none."""
        if not 0 <= index < self.products:
            return None
        change = self.changes.get(index * UNITS) if self.changes else None
        if change is not None and change.gone:
            return None
        bits = self.bits(index * UNITS)
        variants = 0 if bits[0] < 180 else 2 + bits[0] % (MAX_VARIANTS - 1)
        base = 200 * math.exp(5.3 * int.from_bytes(bits[4:8], "big") / 2**32)
        turn, changed = self._turn(at, self._price_period, int.from_bytes(bits[21:25], "big") / 2**32)
        if turn:
            base *= 0.92 + 0.16 * self.bits(index * UNITS, turn)[0] / 255
        active = bits[3] >= 5
        if change is not None:
            changed = max(changed, change.at)
            base = base if change.price is None else change.price
            active = active if change.active is None else change.active
        added = OPENED + _AGE_SPREAD * int.from_bytes(bits[28:30], "big") / 2**16
        return Product(index, bits, variants, round(base), changed, added, active)

    def articles(self, product: Product, at: float) -> list[Article]:
        """What can be bought of a product: itself, or its variants in order. Those that are gone are left out."""
        numbers = range(1, product.variants + 1) if product.variants else (0,)
        return [found for number in numbers if (found := self.article(product, number, at)) is not None]

    def article(self, product: Product, variant: int, at: float) -> Article | None:
        """The product itself (0) or one of its variants (from 1); None if there is no such variant."""
        if variant > product.variants:
            return None
        unit = product.index * UNITS + variant
        change = self.changes.get(unit) if self.changes else None
        if variant and change is not None and change.gone:
            return None
        own = self.bits(unit) if variant else product.bits
        turn, changed = self._stock_turn(own, at)
        wholesale = product.wholesale + product.wholesale * (variant - 1) // 20 if variant else product.wholesale
        stock = self._drawn(unit, turn)
        if self._sold and (sold := self._sold.get(unit)) is not None and sold[0] == turn:
            stock, changed = max(stock - sold[1], 0), max(changed, sold[2])
        if change is not None:
            changed = max(changed, change.at)
            stock = stock if change.stock is None else change.stock
            if variant and change.price is not None:
                wholesale = change.price
        if not product.active:
            stock = 0
        return Article(unit, variant, wholesale, stock, changed)

    def stock_changed(self, product: Product, at: float) -> float:
        """When the stock of any of a product's articles changed last; like asking them all, but quicker."""
        first = product.index * UNITS
        units = range(first, first + UNITS)
        if (self._sold or self.changes) and any(unit in self._sold or unit in self.changes for unit in units):
            return max((each.stock_changed for each in self.articles(product, at)), default=OPENED)
        if not product.variants:
            return self._stock_turn(product.bits, at)[1]
        return max(self._stock_turn(self.bits(first + number), at)[1] for number in range(1, product.variants + 1))

    def _stock_turn(self, own: bytes, at: float) -> tuple[int, float]:
        return self._turn(at, self._stock_period, int.from_bytes(own[17:21], "big") / 2**32)

    def _drawn(self, unit: int, turn: int) -> int:
        draw = self.bits(unit, turn + (1 << 40))
        return 0 if draw[0] < 30 else int(math.exp(6.2 * draw[1] / 255))

    def total_stock(self, product: Product, at: float) -> int:
        """Pieces of a product, over all its variants."""
        return sum(article.stock for article in self.articles(product, at))

    def all(self, at: float, *, start: int = 0, step: int = 1) -> Iterator[Product]:
        """Every `step`-th product from `start` on, made one by one."""
        for index in range(start, self.products, step):
            product = self.product(index, at)
            if product is not None:
                yield product

    # -- what changes it -------------------------------------------------------------------------------------------

    def sell(self, article: Article, quantity: int, at: float) -> None:
        """Take pieces away (or, negative, put them back) until the article's stock changes anyway."""
        change = self.changes.get(article.unit)
        if change is not None and change.stock is not None:
            change.stock, change.at = max(change.stock - quantity, 0), at
            return
        turn, _ = self._stock_turn(self.bits(article.unit), at)
        before = self._sold.get(article.unit)
        sold = before[1] if before is not None and before[0] == turn else 0
        self._sold[article.unit] = (turn, sold + quantity, at)
        if len(self._sold) > MAX_CHANGES:
            self._sold.pop(next(iter(self._sold)))

    def change(self, unit: int, change: Change) -> None:
        """Say what an article is like from now on, whatever the seed says. Raises OverflowError when too many are."""
        if unit not in self.changes and len(self.changes) >= MAX_CHANGES:
            raise OverflowError(f"at most {MAX_CHANGES} changed articles")
        self.changes[unit] = change
