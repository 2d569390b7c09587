"""One trace for each request, sent in the background; losing one never costs a request.

The package imports nothing here: whoever renders a configuration needs `serving.tracing.config`
without the OpenTelemetry exporters.
"""
