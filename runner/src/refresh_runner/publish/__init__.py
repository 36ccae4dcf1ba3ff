"""Makes built marts visible to readers, in one transaction, and rolls back to the previous version."""
