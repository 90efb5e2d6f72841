"""The endpoint: a gateway that holds the clients' connections, and replicas that hold the model."""
