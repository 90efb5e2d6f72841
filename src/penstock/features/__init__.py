"""Features on Feast: definitions, training sets as of the label times, the online store."""
