"""Where things come from, and what came of them: edges between facts, both ways, across tools."""
