"""Who is told of what the looks found, when, and what is done about it."""
