"""Callbacks that log memory and stability while a model is trained: `perdure.integrations.lightning`, `perdure.integrations.transformers`."""
