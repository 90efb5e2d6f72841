"""Who may do what: users, their roles, tokens and keys, as the ledger tells of them."""
