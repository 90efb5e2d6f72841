"""What outlives a process: runs, steps, cache entries. SQLite by default, PostgreSQL by setting."""
