"""Which bytes may serve where: signed by people, decided by policy, kept in the ledger."""
