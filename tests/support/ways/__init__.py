"""Small dbt projects, each run by plain dbt and by the runner with `publish: Direct` and `Swap`, and compared."""
