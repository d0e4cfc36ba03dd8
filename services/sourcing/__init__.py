"""Sourcing: merchants' accounts at suppliers, what those offer, and how the catalogue is kept in step with it."""
