"""The core: graph, Tensor, the walk back, and the one hook through which all else watches."""
