"""Feast online stores that keep one packed row an entity and view: LMDB, Redis, DynamoDB.

The modules of this folder are loaded as Feast plugins, or by one, and so import Feast at their top.
"""
