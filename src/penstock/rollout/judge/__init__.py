"""The judge of a rollout: pure functions from the evidence to verdicts."""
