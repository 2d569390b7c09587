"""The monthly bill: from what was used and the prices of the day to exact, immutable invoices."""
