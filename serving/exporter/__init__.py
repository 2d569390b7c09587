"""Prometheus metrics of what lies in the registry and the warehouse.

Jobs and commands write verdicts, day parts and closed months and end; nobody can scrape them. This
process reads what they left, for dashboards and alerts. It decides nothing and writes nothing.
"""
