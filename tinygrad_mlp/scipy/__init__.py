"""SciPy on Tensors: rules of its ufuncs, and functions of `linalg` and `special` that take arrays alone in SciPy.

SciPy's ufuncs, `scipy.special.gammaln` and its kind, take Tensors themselves. Its other functions make arrays of what
they get, which a Tensor that requires grad refuses. Those that have a derivative here stand by SciPy's names in
`tinygrad_mlp.scipy.linalg` and `tinygrad_mlp.scipy.special`; all else in these modules is SciPy's own, which is needed.

>>> import numpy as np
>>> import tinygrad_mlp as tg
>>> from tinygrad_mlp.scipy import linalg, special
>>> tg.func.grad(lambda a: np.trace(linalg.expm(a)))(np.zeros((2, 2)))
array([[1., 0.],
       [0., 1.]])
>>> tg.func.grad(lambda x: special.gammaln(x))(1.0) == -np.euler_gamma
np.True_
"""
