"""The ledger compared with what others counted: vLLM, the gateway, and the traces.

The ledger is the bill's source; nothing here changes it. A difference is explained by named causes,
each within a bound that the records give, and the rest is `unknown`. `sample` collects counters,
`reconcile` compares. Only sampling needs a Prometheus parser: comparing runs in every environment
that has DuckDB.
"""
