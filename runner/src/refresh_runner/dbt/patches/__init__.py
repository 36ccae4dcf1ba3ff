"""Everything that changes dbt's own classes at run time, with one file per patch. Each states its purpose and what it expects of dbt."""
