"""Which supplier fills what of an order, for how much, and why not another. Pure but for the reading."""
