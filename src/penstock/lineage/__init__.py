"""Where facts come from and what rests on them: edges, and events for other tools."""
