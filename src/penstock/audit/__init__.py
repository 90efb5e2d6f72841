"""The memory of what changed the world: who, what, when, why."""
