"""Telling people. The room of Apprise."""
