"""The plan as data, what each step depends on, and the execution of one step."""
