"""Orders as their channels say them: stored once, changed, taken back, and read with their whole story."""
