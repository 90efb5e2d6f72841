"""The protocols that clients speak: a request in, a question to a model out, and back."""
