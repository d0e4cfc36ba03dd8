"""From an order to supplier orders: planned as intents, sent once, looked up when in doubt."""
