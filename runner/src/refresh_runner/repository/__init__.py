"""The dbt project in a Git repository: fetched by the `git` program, checked, and passed from one container to the next."""
