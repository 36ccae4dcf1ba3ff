"""One set of small dbt projects, each run by plain dbt, by the runner with `publish: Direct` and with `Swap`, and compared."""
