"""Feast online stores that keep one packed row an entity and view: LMDB, Redis, DynamoDB."""
