"""Experiments: one question a file, answered with frozen results that become tables, figures and a page."""
