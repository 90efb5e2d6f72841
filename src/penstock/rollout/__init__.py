"""Rollouts: a new version takes over under a stated error budget, or is taken back."""
