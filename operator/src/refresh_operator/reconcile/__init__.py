"""Reconciling one refresh: observe, decide, apply."""
