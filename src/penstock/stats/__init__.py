"""Pure mathematics on arrays and counts: no clock, no files, no tools."""
