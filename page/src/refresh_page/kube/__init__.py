"""Reads DashboardRefreshes from the Kubernetes API server."""
