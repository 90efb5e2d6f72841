"""From a training set to a tuned, tracked model in a safe format."""
