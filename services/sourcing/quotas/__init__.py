"""How often a supplier may be asked, and whether it answers: meters and breakers shared by all workers."""
