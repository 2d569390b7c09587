"""Dashboards and rules as files, and as the texts that go into them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from observability.alerts import alert_rules
from observability.dashboards import dashboards
from observability.recording import recording_rules
from observability.rules import rule_file
from serving.billing.prices import PriceTable

RULES_FILE = "rules.yaml"


def rules(prices: PriceTable) -> dict[str, Any]:
    """Every recording and alerting rule, as the content of a Prometheus rule file."""
    return rule_file((recording_rules(prices), *alert_rules()))


def dashboard_texts(currency: str) -> dict[str, str]:
    """JSON of every dashboard by its uid."""
    return {
        str(board.uid): json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for board in dashboards(currency)
    }


def write(out: Path, prices: PriceTable) -> list[Path]:
    """Write `<uid>.json` of each dashboard and the rule file into a directory, made if need be.

    Raises:
        OSError: The directory cannot be written.
    """
    texts: Mapping[str, str] = {
        **{f"{uid}.json": text for uid, text in dashboard_texts(prices.currency).items()},
        RULES_FILE: yaml.safe_dump(rules(prices), sort_keys=False, width=100),
    }
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in texts]
    for path in paths:
        path.write_text(texts[path.name], encoding="utf-8")
    return paths
