"""Configuration of the dataset job."""

from pathlib import Path
from typing import Literal

from registry.documents import Document
from registry.names import DomainName

Collector = Literal["platform_docs", "bank_ledger"]


class DatasetConfig(Document):
    """Which pairs, what they must be, and who makes them when they are absent."""

    registry_uri: str
    domain: DomainName
    run_id: str
    train_path: Path
    train_digest: str
    heldout_path: Path
    heldout_digest: str
    min_reviewed: int
    max_seq_length: int
    """Tokens of prompt and answer together."""
    tokenizer_directory: Path
    collector: Collector | None = None
