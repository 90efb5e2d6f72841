"""The arithmetic of features on arrays: no clock, no files, no tools."""
