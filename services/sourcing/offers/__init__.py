"""What suppliers offer: stored page by page, linked to variants, and made into drafts of a plan."""
