"""The program of an environment on Kubernetes, a module for each part."""
