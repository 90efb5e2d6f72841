"""The command line: a table of commands, one short file each."""
