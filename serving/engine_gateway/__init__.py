"""What stands in front of vLLM in a model pod: an Envoy that lets only inference through."""
