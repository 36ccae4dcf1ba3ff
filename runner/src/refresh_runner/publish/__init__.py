"""Making what was built visible to readers, in one transaction, and going back to the previous version."""
