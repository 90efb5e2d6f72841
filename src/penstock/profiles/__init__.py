"""What data looked like, in a few kB: bins, categories and rates that add, to compare others with.

profile   the record: a column of numbers or of words, the scores of a model, and all of them
edges     where the bins of a column of numbers lie
counting  rows → a profile: a new one, or one in the shape of another
tallies   what is counted of one column while its rows pass by
keeping   a profile as a file that is named by its digest
"""
