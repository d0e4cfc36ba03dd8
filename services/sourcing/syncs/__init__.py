"""Syncs of connections: asked for, planned within quotas, run, and told about."""
