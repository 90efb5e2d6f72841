"""A bounded load generator: it asks an endpoint, and measures what its clients would see."""
