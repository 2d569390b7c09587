"""Keeps the adapters that a vLLM server holds equal to what the registry wants."""
