"""Which model version answers which request: a document, and pure decisions on it."""
