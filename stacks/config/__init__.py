"""Typed stack configuration: validated whole before any resource is declared."""
