"""The outside world in one process: suppliers that speak their real wire protocols, with faults on demand.

Imports nothing of ours, and nothing of ours imports it: adapters and sandbox follow the written protocol independently,
so a misreading on one side shows.
"""
