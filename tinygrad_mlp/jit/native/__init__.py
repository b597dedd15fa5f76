"""Native programs: a plan becomes loops in machine code, by Numba, and products of BLAS.

The `loop` of an op's rule says what it computes for one element: that is all that a further op needs. `forms` finds by
which counters a loop reaches the operands of a call, `groups` which calls share a loop, and `write` puts a loop into
lines: a loop of another kind is a further form there and its lines in `write.Loop`. `products` lets products of BLAS
update their weights, `program` puts the pieces in the place of their calls, and `cache` keeps them on disk.
"""
