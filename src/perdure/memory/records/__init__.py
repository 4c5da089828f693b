"""Memory from records: what `perdure.estimate_memory` is made of."""
