"""A cluster without Docker and registries: the upstream components, built from their Go modules."""
