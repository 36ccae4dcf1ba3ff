"""The dbt project in a Git repository: fetched by the `git` program, checked, and handed from one container to the next."""
