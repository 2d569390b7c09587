"""The three shapes that most expressions of the dashboards have."""

_SCOPE = 'namespace=~"$namespace"'


def scoped(metric: str, *matchers: str) -> str:
    """A selector of the namespaces that the dashboard's reader has chosen."""
    return f"{metric}{{{','.join((_SCOPE, *matchers))}}}"


def per_second(metric: str, *matchers: str, by: str) -> str:
    """Increase of a counter per second, summed by labels."""
    return f"sum by ({by}) (rate({scoped(metric, *matchers)}[$__rate_interval]))"


def quantile(share: float, histogram: str, *matchers: str, by: str) -> str:
    """Quantile of a histogram, by labels."""
    buckets = per_second(f"{histogram}_bucket", *matchers, by=f"{by}, le")
    return f"histogram_quantile({share}, {buckets})"
