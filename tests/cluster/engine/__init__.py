"""A Docker engine for machines without one: Debian's programs in namespaces of their own, and an image for kind's nodes."""
