"""Where facts come from and what rests on them: edges both ways, and events for other tools."""
