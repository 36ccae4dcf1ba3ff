"""HTTP: addresses, answers, templates, server-sent events."""
