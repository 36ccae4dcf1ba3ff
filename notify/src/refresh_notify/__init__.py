"""Tells people by Slack and e-mail how a run ended."""
