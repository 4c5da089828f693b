"""Readers of the data sets that experiments use and the project does not ship."""
