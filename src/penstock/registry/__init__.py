"""The model registry: versions, and loading them safely."""
