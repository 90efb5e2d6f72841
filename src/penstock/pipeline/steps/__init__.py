"""The nine steps of the standard plan, and the frame around a project's own."""
