"""Operators of a cluster whose kinds this project declares."""

from typing import Literal

Operator = Literal["gateway-api", "kgateway", "keda", "prometheus", "external-secrets", "gpu"]
"""What a cluster may bring along, and what this program installs where it does not."""
