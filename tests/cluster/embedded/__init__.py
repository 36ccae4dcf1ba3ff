"""A cluster without Docker and registries: upstream's components, built from their Go modules."""
