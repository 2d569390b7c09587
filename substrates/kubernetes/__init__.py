"""Jobs of releases on Kubernetes."""
