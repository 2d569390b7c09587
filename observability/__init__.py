"""Dashboards, recording rules and alerts, generated from code. No pulumi, no I/O but `export`."""
