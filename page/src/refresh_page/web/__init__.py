"""Serves the page over HTTP: routes, limits, templates and server-sent events."""
