"""BigBuy's carriers and what they cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sandbox.bigbuy import countries, errors, forms, items, shelves
from sandbox.bigbuy.errors import Refused, answer, php_json
from sandbox.bigbuy.state import State
from sandbox.catalogue import Product
from sandbox.wire import Answer, Call, Item, stream_list


@dataclass(frozen=True, slots=True)
class Carrier:
    """Someone who brings parcels. Prices in euros."""

    id: str
    code: str  # as orders name it
    name: str  # as the Shipping API shows it
    service: str
    delay: str
    transport: str
    zones: tuple[int, ...]
    base: Decimal  # times the zone
    per_kilogram: Decimal
    heaviest: float  # kilograms
    proof: bool


CARRIERS = (
    Carrier("20", "correos", "Correos", "Paq 48", "2-3 days", "van", (1,), Decimal("2.95"), Decimal("0.60"), 20, False),
    Carrier("43", "chrono", "Chrono", "Chrono", "1-2 days", "van", (1, 2), Decimal("3.40"), Decimal("0.75"), 30, True),
    Carrier("180", "gls", "GLS", "GLS", "4-6 days", "van", (1, 2, 3), Decimal("3.10"), Decimal("0.55"), 31.5, False),
    Carrier("57", "ups", "UPS", "Standard", "2-4 days", "plane", (2, 3, 4), Decimal("4.20"), Decimal("0.95"), 70, True),
    Carrier("61", "dhl", "DHL", "Parcel", "3-5 days", "van", (1, 2, 3), Decimal("3.60"), Decimal("0.65"), 31.5, True),
    Carrier("75", "tnt", "TNT", "Economy", "3-6 days", "van", (2, 3), Decimal("4.00"), Decimal("0.70"), 70, True),
    Carrier("82", "seur", "SEUR", "SEUR 24", "1-2 days", "van", (1,), Decimal("3.30"), Decimal("0.80"), 40, True),
    Carrier(
        "99",
        "correosinternational",
        "Correos International",
        "Paq Standard",
        "5-9 days",
        "plane",
        (2, 3, 4),
        Decimal("3.80"),
        Decimal("1.10"),
        20,
        False,
    ),
)
BY_CODE = {carrier.code: carrier for carrier in CARRIERS}


def cost(carrier: Carrier, country: str, kilograms: float) -> Decimal | None:
    """Euros without taxes; None if the carrier does not go there, or not with so much."""
    zone = countries.COUNTRIES[country][0]
    if zone not in carrier.zones or kilograms > carrier.heaviest:
        return None
    return (carrier.base * zone + carrier.per_kilogram * Decimal(str(kilograms))).quantize(Decimal("0.01"))


def cheapest(codes: list[str], country: str, kilograms: float) -> tuple[Carrier, Decimal] | None:
    """The cheapest of the carriers named, with its price."""
    offers = [
        (price, carrier.id)
        for code in codes
        if (carrier := BY_CODE.get(code.lower())) and (price := cost(carrier, country, kilograms)) is not None
    ]
    if not offers:
        return None
    price, id_ = min(offers)
    return next(carrier for carrier in CARRIERS if carrier.id == id_), price


# -- Endpoints -----------------------------------------------------------------------------------------------------


def carriers(state: State, call: Call, argument: str) -> Answer:
    """All carriers with their services."""
    return answer(
        [
            {
                "id": each.id,
                "name": each.name,
                "shippingServices": [
                    {"id": each.id, "delay": each.delay, "name": each.service, "pod": each.proof},
                ],
            }
            for each in CARRIERS
        ]
    )


def tracking_carriers(state: State, call: Call, argument: str) -> Answer:
    """Carriers, as tracking names them."""
    return answer([{"id": each.id, "name": each.name} for each in CARRIERS])


def options_of_order(state: State, call: Call, argument: str) -> Answer:
    """What carriers ask for an order: one object. Postcodes are validated as a form, not as ER004."""
    order = forms.part(call, "order")
    delivery = forms.mapping(order.get("delivery"))
    country = forms.text(delivery.get("isoCountry")).upper()
    postcode = forms.text(delivery.get("postcode"))
    problems: dict[str, list[str]] = {}
    if country not in countries.COUNTRIES:
        problems["isoCountry"] = ["This value is not valid."]
    elif not countries.fits(country, postcode):
        form = countries.COUNTRIES[country][1]
        problems["postcode"] = [f"Invalid postcode format. Valid format for the selected country is '{form}'."]
    lines, line_problems = forms.lines(order.get("products"))
    if problems or line_problems is not None:
        fields = {name: {"errors": problems[name]} if name in problems else [] for name in ("isoCountry", "postcode")}
        tree = {"delivery": {"children": fields} if problems else [], "products": line_problems or []}
        raise Refused(errors.invalid(tree))
    kilograms = round(sum(items.weight(_product(state, call, ref)) * pieces for ref, pieces in lines), 3)
    options = [
        {
            "shippingService": {
                "id": each.id,
                "delay": each.delay,
                "name": each.name,
                "transportMethod": each.transport,
                "serviceName": each.service,
            },
            "cost": float(price),
            "weight": kilograms,
        }
        for each in CARRIERS
        if (price := cost(each, country, kilograms)) is not None
    ]
    return answer({"shippingOptions": [call.spoil_one(option) for option in options]})


def _product(state: State, call: Call, reference: str) -> Product:
    found = shelves.from_sku(reference)
    product = state.catalogue.product(found[0], call.at) if found else None
    if found is None or product is None or found[1] > product.variants:
        raise errors.OrderError("ER001", {"skus": [reference]})
    return product


def _lowest(product: Product, reference: str, country: str) -> Item:
    best = cheapest(list(BY_CODE), country, items.weight(product)) if country in countries.COUNTRIES else None
    carrier, price = best or (None, None)
    return {
        "reference": reference,
        "cost": None if price is None else f"{price.normalize():f}",
        "carrierId": carrier.id if carrier else None,
        "carrierName": carrier.name if carrier else None,
    }


def lowest_cost(state: State, call: Call, argument: str) -> Answer:
    """The lowest cost of one piece; null where nobody goes."""
    wanted = forms.part(call, "product_country")
    reference, country = forms.text(wanted.get("reference")), forms.text(wanted.get("countryIsoCode")).upper()
    problems: dict[str, Any] = {
        name: {"errors": ["This value should not be blank."]}
        for name, value in (("reference", reference), ("countryIsoCode", country))
        if not value
    }
    if problems:
        raise Refused(errors.invalid({name: problems.get(name, []) for name in ("reference", "countryIsoCode")}))
    return answer(call.spoil_one(_lowest(_product(state, call, reference), reference, country)))


def lowest_costs(state: State, call: Call, argument: str) -> Answer:
    """The lowest cost of one piece of every product."""
    country = argument.upper()

    def found() -> Iterator[Item]:
        for product in state.catalogue.all(call.at):
            for article in state.catalogue.articles(product, call.at):
                yield _lowest(product, shelves.sku(product.index, article.variant), country)

    return Answer(200, stream_list(call.spoil(found()), php_json))
