"""Sets up everything the project needs on one machine.

Runs before any environment exists, so it uses the Python 3.11 standard library alone.
"""
