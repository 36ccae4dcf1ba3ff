"""Translates the page: gettext catalogues, labels of enum values, and formats of numbers and times."""
