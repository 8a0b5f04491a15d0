"""Typed clients of what drivers ask beside the Kubernetes API."""
