"""Feeds on their way into the catalogue, in steps that each can be repeated: file → drafts → staging → catalogue."""
