"""Everything that changes dbt's own classes at run time, one file a patch; each states what it is for and what it expects of dbt."""
