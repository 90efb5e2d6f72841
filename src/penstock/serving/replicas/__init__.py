"""Model processes: each version in processes of its own, behind Unix sockets."""
