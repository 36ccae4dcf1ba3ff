"""A release: images, chart, CRDs, wheels, plugin, lists of what is in them, checksums and a signature, in one folder."""
