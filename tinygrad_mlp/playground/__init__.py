"""A page in the browser to play with: ``python -m tinygrad_mlp.playground`` (extra ``web``: Tornado).

Draw a digit, and see what a trained network makes of it while you draw: its probabilities, the units of each layer, and
the gradient of a score by the pixels. Train a small network on points in the plane, and see its surface, its loss, the
weights and gradients of each unit, and the program that `jit` has made of the step; plant one of the four bugs that
this project began with, and have `gradcheck` find it.

All numbers are computed here, by this package; the page draws them. It is one file, loads nothing from elsewhere, and
speaks JSON with the server over one web socket: a message, an answer. `session` has what can be said, `digits`,
`plane` and `bugs` compute it, and `server` lets in nobody but a page of its own on this machine.
"""
