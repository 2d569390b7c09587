"""The edge: one HTTPRoute per domain, and the local Envoy that serves the same objects."""
