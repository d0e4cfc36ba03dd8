"""Fixtures of the suppliers' tests."""

from tests.suppliers.canned import canned

__all__ = ["canned"]
