"""A supplier that has no interface: its catalogue as files at an address, in the forms such files come in."""
