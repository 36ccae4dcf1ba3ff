"""Builders, fixtures and helpers shared by several areas of the tests."""
