"""Whether the world still is what the model learned: data, features, predictions, outcomes."""
