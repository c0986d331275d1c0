"""Optimizations, one a file: each a plain function from a Graph to a Graph, or, from `fuse` on, to a Program. `pipeline` runs
them."""
