"""The cluster that needs neither Docker nor a registry: upstream's components, built from their Go modules."""
