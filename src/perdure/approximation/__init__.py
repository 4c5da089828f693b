"""Exponential sums that approximate a functional: the best linear recurrent networks of a given width."""

from perdure.approximation.approximate import approximate

__all__ = ["approximate"]
