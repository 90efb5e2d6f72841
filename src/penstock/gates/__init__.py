"""Thresholds on what was measured, and the measuring of models and endpoints."""
