"""Great Expectations suites as a gate that blocks.

`suites` reads them, `validate` runs them on a dataset and reports, `suggest` drafts a first one.
Great Expectations is imported here only, and only inside functions: that takes seconds.
"""
