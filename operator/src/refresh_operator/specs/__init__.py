"""The objects that the operator creates, and the differences of existing ones; pure."""
