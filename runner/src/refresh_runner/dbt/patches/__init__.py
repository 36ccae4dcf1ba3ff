"""Everything that changes dbt's own classes at run time."""
