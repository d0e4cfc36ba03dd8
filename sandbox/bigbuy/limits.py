"""BigBuy's limits, by key and endpoint."""

# Endpoint → (calls, seconds); the first pattern that fits. Documented values; those of bulk endpoints that came after
# the documentation are taken from their predecessors. user/* has none.
LIMITS: dict[str, tuple[int, int]] = {
    "catalog/manufacturers": (5, 3_600),
    "catalog/languages": (10, 3_600),
    "catalog/productsinformation": (24, 3_600),
    "catalog/attributes": (24, 3_600),
    "catalog/attributegroups": (24, 3_600),
    "catalog/categories": (24, 3_600),
    "catalog/taxonomies": (24, 3_600),
    "catalog/product": (1, 5),
    "catalog/productimages": (1, 5),
    "catalog/productinformation": (1, 5),
    "catalog/productinformationbysku": (1, 5),
    "catalog/productvariations": (1, 5),
    "catalog/productstockbyhandlingdays": (1, 5),
    "catalog/producttaxonomies": (1, 5),
    "catalog/productcompliance": (1, 5),
    "catalog/attribute": (1, 5),
    "catalog/attributegroup": (1, 5),
    "catalog/manufacturer": (1, 5),
    "catalog/*": (10, 3_600),
    "order": (1, 1),
    "order/*": (1, 1),
    "shipping/*": (1, 1),
    "tracking/*": (1, 1),
    "module/*": (1, 1),
}
