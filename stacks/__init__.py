"""Stack configurations, their typed models, the two programs and the `pipeline` command."""
