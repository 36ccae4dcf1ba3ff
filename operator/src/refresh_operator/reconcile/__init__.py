"""Reconciles one refresh: observes it, decides what to change, applies the decision and notifies people."""
