"""Previews: what a change of the dbt project would do to the marts, before readers see it."""
