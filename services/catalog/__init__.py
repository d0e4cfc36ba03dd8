"""Products and variants: merging staged drafts into them, and reading them."""
