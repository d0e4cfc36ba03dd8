"""Who is calling, which merchant they act for, and what they may do there."""
