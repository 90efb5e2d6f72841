"""Runs and steps as OpenLineage events, for catalogues and monitors that know the standard.

Nothing is sent unless `[lineage] openlineage` says where to. `happenings` are what orchestrators
tell, `documents` and `datasets` the events that they become, `sender` brings them there.
"""
