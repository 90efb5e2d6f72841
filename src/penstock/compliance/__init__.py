"""What a regulated team must show: technical file, model card, dossiers, and a signed bundle."""
