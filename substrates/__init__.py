"""Where workloads run: one description, rendered by the substrate of the environment."""
