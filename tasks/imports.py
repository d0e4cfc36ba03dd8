"""Handlers of the queue `import`."""
