"""Looking inside attention: what there is, its formula in words, and its matrices as pictures."""
