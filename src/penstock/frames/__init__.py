"""Rows in memory: whatever user code returns as Arrow tables, and what every table must be."""
