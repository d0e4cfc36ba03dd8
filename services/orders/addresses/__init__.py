"""Addresses as suppliers can print them: repaired where that is safe, and shown."""
