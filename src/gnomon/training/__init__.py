"""Finding a dial by gradient: trainable low-rank edits, subspaces, losses, and the one loop that all of it runs in.

Knows contrast pairs, residual states and dials; sees no question, no answer and no label, but for `labelled`, the ceiling.
"""
