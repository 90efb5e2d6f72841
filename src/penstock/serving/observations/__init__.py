"""What a gateway saw of each release and arm: counts and histograms that add."""
