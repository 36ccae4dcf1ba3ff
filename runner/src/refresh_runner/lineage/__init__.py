"""Describes finished runs to an OpenLineage server."""
