"""Collectors: each turns one source into `train.jsonl`, `heldout.jsonl` and `report.json`."""
