"""The only package that uses dbt: reading a project, running commands in this process, results as plain values."""
