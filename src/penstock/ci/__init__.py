"""Continuous integration of a project: check it, try a change, promote what was merged."""
