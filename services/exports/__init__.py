"""The catalogue on its way out: products of one moment into a file that is kept for some days."""
