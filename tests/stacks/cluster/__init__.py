"""Parts of an environment on Kubernetes."""
