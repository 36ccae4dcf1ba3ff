"""Reconcile one refresh: observe it, decide what to change, apply the decision, notify people."""
