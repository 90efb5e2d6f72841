"""Project folders that `penstock init` copies."""
