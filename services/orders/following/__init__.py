"""What becomes of what was placed: parcels, returns, and our ledger beside the suppliers'."""
