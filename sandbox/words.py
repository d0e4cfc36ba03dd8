"""The words that generated products are named with, in the languages the suppliers speak."""

LANGUAGES = {
    "en": "English",
    "es": "Español",
    "fr": "Français",
    "de": "Deutsch",
    "it": "Italiano",
    "pt": "Português",
    "nl": "Nederlands",
    "pl": "Polski",
}

# First level of the taxonomy: English, Spanish, French, German; other languages fall back to English.
ROOTS = (
    ("Home & Kitchen", "Hogar y Cocina", "Maison & Cuisine", "Haus & Küche"),
    ("Electronics", "Electrónica", "Électronique", "Elektronik"),
    ("Toys & Games", "Juguetes y Juegos", "Jouets & Jeux", "Spielzeug & Spiele"),
    ("Fashion", "Moda", "Mode", "Mode"),
    ("Beauty", "Belleza", "Beauté", "Schönheit"),
    ("Sport & Outdoor", "Deporte y Aire libre", "Sport & Plein air", "Sport & Freizeit"),
    ("Garden", "Jardín", "Jardin", "Garten"),
    ("Pets", "Mascotas", "Animaux", "Haustiere"),
)
SHELVES = (
    ("Basics", "Básicos", "Essentiels", "Grundlagen"),
    ("Accessories", "Accesorios", "Accessoires", "Zubehör"),
    ("Gifts", "Regalos", "Cadeaux", "Geschenke"),
    ("Professional", "Profesional", "Professionnel", "Profi"),
    ("Clearance", "Liquidación", "Déstockage", "Restposten"),
)
NOUNS = (
    ("Lamp", "Lámpara", "Lampe", "Lampe"),
    ("Kettle", "Hervidor", "Bouilloire", "Wasserkocher"),
    ("Speaker", "Altavoz", "Enceinte", "Lautsprecher"),
    ("Puzzle", "Rompecabezas", "Puzzle", "Puzzle"),
    ("Backpack", "Mochila", "Sac à dos", "Rucksack"),
    ("Mirror", "Espejo", "Miroir", "Spiegel"),
    ("Yoga Mat", "Esterilla de yoga", "Tapis de yoga", "Yogamatte"),
    ("Hose", "Manguera", "Tuyau", "Gartenschlauch"),
    ("Cushion", "Cojín", "Coussin", "Kissen"),
    ("Charger", "Cargador", "Chargeur", "Ladegerät"),
    ("Mug", "Taza", "Tasse", "Becher"),
    ("Watch", "Reloj", "Montre", "Uhr"),
    ("Shampoo", "Champú", "Shampooing", "Shampoo"),
    ("Water Bottle", "Botella de agua", "Gourde", "Trinkflasche"),
    ("Planter", "Macetero", "Jardinière", "Blumentopf"),
    ("Cat Toy", "Juguete para gatos", "Jouet pour chat", "Katzenspielzeug"),
)
ADJECTIVES = (
    ("Foldable", "Plegable", "Pliable", "Faltbar"),
    ("Wireless", "Inalámbrico", "Sans fil", "Kabellos"),
    ("Bamboo", "Bambú", "Bambou", "Bambus"),
    ("Mini", "Mini", "Mini", "Mini"),
    ("XL", "XL", "XL", "XL"),
    ("Waterproof", "Impermeable", "Étanche", "Wasserdicht"),
    ("Vintage", "Vintage", "Rétro", "Vintage"),
    ("LED", "LED", "LED", "LED"),
    ("Kids'", "Infantil", "Enfant", "Kinder"),
    ("Ergonomic", "Ergonómico", "Ergonomique", "Ergonomisch"),
    ("2-in-1", "2 en 1", "2 en 1", "2-in-1"),
    ("Steel", "Acero", "Acier", "Stahl"),
)
COLOURS = (
    ("Black", "Negro", "Noir", "Schwarz"),
    ("White", "Blanco", "Blanc", "Weiß"),
    ("Red", "Rojo", "Rouge", "Rot"),
    ("Blue", "Azul", "Bleu", "Blau"),
    ("Green", "Verde", "Vert", "Grün"),
    ("Beige", "Beige", "Beige", "Beige"),
    ("Grey", "Gris", "Gris", "Grau"),
    ("Pink", "Rosa", "Rose", "Rosa"),
)
SIZES = ("S", "M", "L", "XL")
BRANDS = ("Aldane", "Brixo", "Çelik", "Dunmore", "Ēriks", "Fjordal", "Gołąb", "Hestia", "Ibáñez", "Jolly & Co")

_COLUMNS = {"en": 0, "es": 1, "fr": 2, "de": 3}


def say(words: tuple[str, ...], language: str) -> str:
    """The word in that language, or in English."""
    return words[_COLUMNS.get(language, 0)]
