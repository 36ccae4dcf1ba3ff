"""A Docker engine for machines without one: Debian's programs in their own namespaces, and an image for kind's nodes."""
