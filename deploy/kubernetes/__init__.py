"""Manifests for Kubernetes, and the check of them."""
