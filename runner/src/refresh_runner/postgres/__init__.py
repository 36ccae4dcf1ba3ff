"""Access to PostgreSQL: connections, locks, catalog, privileges, standbys. Knows nothing of runs or dbt."""
