"""Fast recurrences, each beside a float64 reference it is tested against."""
