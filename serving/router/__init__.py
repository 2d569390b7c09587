"""The one place of authorisation and metering: client request in, adapter's answer out."""
