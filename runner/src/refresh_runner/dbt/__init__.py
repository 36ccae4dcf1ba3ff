"""The door to dbt: reading a project, running commands in this process, results as plain values."""
