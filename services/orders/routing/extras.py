"""What a supplier charges beyond the goods, learned from the newest orders it has charged.

Some of it is the parcel's, whatever is in it (shipping), some grows with what the goods cost (taxes, fees). Both are
told apart by the line through what was charged, which a few odd bills do not move: the median of the slopes between any
two of them (Theil 1950, Sen 1968), and from there the median parcel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from statistics import median, median_low

FEW = 3  # orders that say nothing of what is usual
BEYOND = 2  # an order of more than so many times what was ever sent, or less than that part of it, is like none of them
_SHARE = Decimal("0.0001")
_AMOUNT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Extras:
    """A parcel of some goods is charged `parcel` + `share` × goods beyond them; amounts in the supplier's currency."""

    parcel: Decimal
    share: Decimal  # 0.21: as much as taxes of 21 %
    most: Decimal  # as `parcel`, of the dearest one
    least_goods: Decimal | None = None  # of what parcels it is known; None: too few to say what is usual
    most_goods: Decimal | None = None

    def expected(self, goods: Decimal) -> Decimal | None:
        """What a parcel of these goods is charged for at most, goods included, if it is like those before it. None: it
        is like none of them.
        """
        if self.least_goods is None or self.most_goods is None:
            return None
        if not self.least_goods / BEYOND <= goods <= self.most_goods * BEYOND:
            return None
        return goods + (self.most + self.share * goods).quantize(_AMOUNT)


def learned(bills: Sequence[tuple[Decimal, Decimal]]) -> Extras | None:
    """From parcels' goods and what was charged beyond them. None: there are none."""
    if not bills:
        return None
    points = [(float(goods), float(extra)) for goods, extra in bills]
    # Bills of nearly the same goods say nothing about a slope but noise.
    slopes = [
        (b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if abs(b[0] - a[0]) > 0.1 * max(a[0], b[0])
    ]
    share = min(1.0, max(0.0, median(slopes))) if slopes else 0.0
    rest = [max(0.0, extra - share * goods) for goods, extra in points]
    known = len(points) >= FEW
    return Extras(
        Decimal(median_low(rest)).quantize(_AMOUNT),
        Decimal(share).quantize(_SHARE),
        Decimal(max(rest)).quantize(_AMOUNT),
        min(goods for goods, _ in bills) if known else None,
        max(goods for goods, _ in bills) if known else None,
    )
