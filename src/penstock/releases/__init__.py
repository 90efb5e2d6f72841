"""Releases: everything that a served model rests on, under one digest."""
