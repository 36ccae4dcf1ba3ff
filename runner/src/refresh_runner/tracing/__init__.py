"""Sends traces of runs to an OpenTelemetry collector."""
