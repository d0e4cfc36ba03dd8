"""Merchants' accounts at suppliers: connected, tried, kept secret, renewed, reached, with their rules."""
