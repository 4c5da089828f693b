"""Audits: what any sequence model remembers and how fragile that memory is, on one page."""
