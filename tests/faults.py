"""Hand-made faults of the package: edits that leave it running and make it wrong, put where the ice looks thin.

`test_faults.py` applies each to a copy of the package and runs the tests: one of them has to fail. A fault is found by
its old text, which stands once in the whole package, in whatever file.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """An edit, in words and in text. ``survives`` says why no test can tell it from the package as it is."""

    what: str
    old: str
    new: str
    survives: str = ""


FAULTS: dict[str, list[Fault]] = {
    "foreign": [
        Fault(
            "a call that fails inside is called wrong",
            '        return ""\n    if next(iter',
            "        problem = 'it'\n    if next(iter",
        ),
        Fault("words of others are not known", 'if word in _OURS.get(name, "").split()]', "if False]"),
        Fault("words that mean nothing are not known", "or _inverted(_WITHOUT).get(word)", ""),
        Fault("foreign attributes are offered", "if name not in words]  #", "]  #"),
        Fault(
            "a subclass is called by the name of its base",
            "type(self) if type(self).__init__ is answering else cls",
            "cls",
        ),
    ],
    "syntax": [
        Fault("functions of a line are one", "if len(here) > 1:", "if False:"),
        Fault("constants do not tell functions apart", "code.co_freevars, constants\n", "code.co_freevars\n"),
        Fault("a decorated function is not found", '(node, *getattr(node, "decorator_list", ()))', "(node,)"),
        Fault("imports do not matter", "module.body[:0] = imports", ""),
    ],
    "later": [
        Fault("a room has the name by which it was imported", "module.__spec__ = self.own_spec", "pass"),
        Fault("rooms of other packages are found", "known = package == self.package and", "known ="),
    ],
    "errors": [
        Fault("a part of a name is no hint", "or [n for n in names if str(name) and str(name) in n]", ""),
        Fault("valid names are not sorted", "names = sorted(valid)", "names = list(valid)"),
        Fault(
            "the user's line is one of the package",
            'return None if path.startswith((_HOME, "<jit ")) else',
            'return None if path in (__file__, "<jit ") else',
        ),
        Fault(
            "a program's line is the user's",
            'return None if path.startswith((_HOME, "<jit ")) else',
            "return None if path.startswith(_HOME) else",
        ),
        Fault("a broken library counts as absent", "if error.name != name:", "if False:"),
        Fault(
            "warnings of NumPy stay where they are",
            "            warn(text, RuntimeWarning)\n        return redirects",
            "            pass\n        return False",
        ),
        Fault(
            "other warnings are sent on",
            'text.startswith(("divide by zero", "overflow", "underflow", "invalid value"))',
            "text",
        ),
        Fault("an op within an op explains", "        if frame.f_back is None:", "        if True:"),
        Fault("a number that is several is one", 'or bool(getattr(value, "shape", ()))', ""),
        Fault(
            "a class is an instance",
            "if not isinstance(value, kind):",
            "if not (isinstance(value, kind) or isinstance(value, type)):",
        ),
        Fault("a long value is not shortened", 'text if len(text) <= 60 else text[:57] + "..."', "text"),
        Fault("an address is shown", 'if " at 0x" in text or text', "if text"),
        Fault(
            "an error is explained twice",
            'if type(error).__module__ != __name__ and "explained" not in vars(error):',
            "if True:",
        ),
        Fault("batch axes of a product are not compared", "x, y = x[:-2], y[:-2]", 'return ""'),
        Fault(
            "the upper bound of a number is allowed",
            "if not (low <= value < high or (closed and value == high)):",
            "if not low <= value <= high:",
        ),
        Fault("objects are numbers", 'array.dtype.kind not in "biufc"', 'array.dtype.kind not in "biufcO"'),
        Fault(
            "an overflow is not explained",
            "for kind in (ZeroDivisionError, OverflowError, FloatingPointError)),",
            "for kind in (ZeroDivisionError, FloatingPointError)),",
        ),
    ],
    "rules": [
        Fault("an unsigned shift cannot go back", "[-int(n) for n in np.atleast_1d(shift)]", "np.negative(shift)"),
        Fault(
            "a gap has the other sign",
            "gaps = values[..., None, :] - values[..., :, None]",
            "gaps = values[..., :, None] - values[..., None, :]",
        ),
        Fault(
            "sinc's derivative near 0 is that of a whole turn",
            "s**n * np.cos(math.pi * s * small",
            "s**n * np.cos(2 * math.pi * s * small",
        ),
        Fault("a masked NaN of float16 stays", "return np.where(mask, x, x.dtype.type(0))", "return mask * x"),
        Fault(
            "sigmoid warns of an overflow",
            'with np.errstate(over="ignore"):\n        return 1 /',
            "with np.errstate():\n        return 1 /",
        ),
        Fault(
            "the gradient of bce has a floor of 1e-4", "np.maximum(p * (1 - p), 1e-12)", "np.maximum(p * (1 - p), 1e-4)"
        ),
        Fault("logarithms of bce end at -50", "np.maximum(np.log1p(-p), -100)", "np.maximum(np.log1p(-p), -50)"),
        Fault(
            "relu has a slope at 0",
            "vjp(relu, lambda g, out, x: select(out > 0, g))",
            "vjp(relu, lambda g, out, x: select(out >= 0, g))",
        ),
        Fault("nan_to_num passes a gradient at NaN", "neginf=None: select(np.isfinite(x), g)", "neginf=None: g"),
        Fault(
            "clip passes no gradient at its bounds",
            "np.logical_and(True if low is None else x >= low, True if high is None else x <= high)",
            "np.logical_and(True if low is None else x > low, True if high is None else x < high)",
        ),
        Fault(
            "square products are laid out by columns",
            "return len(shape) == 2 and shape[1] > shape[0]",
            "return len(shape) == 2 and shape[1] >= shape[0]",
        ),
        Fault("both get all of a tie", "select(x == y, g * 0.5)", "select(x == y, g)"),
        Fault("an unstable sort", 'np.argsort(x, axis=axis, kind="stable")', "np.argsort(x, axis=axis)"),
        Fault("take clips one too late", "np.clip(indices, 0, n - 1)", "np.clip(indices, 0, n)"),
        Fault("put does not add up", "np.add.at(result, items, x)", "result[items] = x"),
        Fault("a maximum that is NaN divides by 0", "hit = (x == top) | (top != top)", "hit = x == top"),
        Fault(
            "ties of a maximum do not share",
            "spread(_kept(g, x, axis) / hit.sum(axis=axis, keepdims=True, dtype=x.dtype), x.shape, axis)",
            "spread(_kept(g, x, axis), x.shape, axis)",
        ),
        Fault(
            "an infinite norm is NaN",
            "np.where((scale > 0) & np.isfinite(scale), scale, 1)",
            "np.where(scale > 0, scale, 1)",
        ),
        Fault(
            "a norm of tiny numbers underflows",
            "np.where((scale > 0) & np.isfinite(scale), scale, 1)",
            "np.maximum(scale, 1)",
        ),
        Fault(
            "weights of two axes are not sorted", "np.transpose(weights, np.argsort(reduced))", "np.transpose(weights)"
        ),
        Fault(
            "the gradient of logsumexp has lost digits",
            "return shares / nonzero(shares.sum(axis=axis, keepdims=True))",
            "return shares",
        ),
        Fault(
            "logsumexp of -inf warns",
            'with np.errstate(divide="ignore", over="ignore"):\n        result = np.log',
            "with np.errstate():\n        result = np.log",
        ),
        Fault(
            "a covariance of no freedom is negative",
            "np.squeeze(deviation @ deviation.T / max(freedom, 0))",
            "np.squeeze(deviation @ deviation.T / freedom)",
        ),
        Fault("softmax overflows", "e = np.exp(x - _top(x, axis))", "e = np.exp(x)"),
        Fault("a wide product is not laid out for BLAS", "if is_wide((x.shape[0], y.shape[1])):", "if False:"),
        Fault("einsum returns a view", "return result if result.base is None else result.copy()", "return result"),
        Fault(
            "the implied output of einsum is not sorted",
            'once = (c for c in sorted(set(left) - set(",.")) if left.count(c) == 1)',
            'once = (c for c in left if c not in ",." and left.count(c) == 1)',
        ),
        Fault(
            "correlate rounds its middle as convolve does",
            "(m - 1) // 2 if len(a) >= len(v) or not reverse else m // 2",
            "(m - 1) // 2",
        ),
        Fault(
            "cholesky reads one triangle",
            "return np.linalg.cholesky(0.5 * (x + _transposed(x)))",
            "return np.linalg.cholesky(x)",
        ),
        Fault("sums of many rows lose digits", "dtype=np.float64 if many else None", "dtype=None"),
        Fault("negative axes are not sorted", "np.argsort([a % len(axes) for a in axes])", "np.argsort(axes)"),
        Fault("a part along a negative axis", "* normalize_axis_index(axis, x.ndim) +", "* axis +"),
        Fault(
            "options by position are lost",
            "{**dict(zip(names[count:], args[count:], strict=False)), **kwargs}",
            "kwargs",
        ),
        Fault(
            "ravel is no view",
            "vjp(np.ravel, lambda g, out, x: g.reshape(x.shape), linear=True, view=True)",
            "vjp(np.ravel, lambda g, out, x: g.reshape(x.shape), linear=True)",
        ),
        Fault(
            "moveaxis goes the same way back",
            "np.moveaxis(g, destination, source)",
            "np.moveaxis(g, source, destination)",
        ),
        Fault("an array without axes decides the dtype", "or (isinstance(a, np.ndarray) and a.ndim == 0):", ":"),
        Fault(
            "a constant function takes where",
            '(key in ("out", "where") if known is None',
            '(key == "out" if known is None',
        ),
        Fault(
            "a list is no copy for a rule of our own",
            "return a if own else as_numbers(a).copy()",
            "return as_numbers(a).copy()",
        ),
        Fault(
            "a door looks at its first argument only",
            "for a in (*args, *kwargs.values()) if kwargs else args:",
            "for a in args:",
        ),
    ],
    "graph": [
        Fault(
            "a copy shares its version with what it was made from",
            " and np.may_share_memory(result._data, arrays[0]):",
            ":",
        ),
        Fault("a view has no version", "result._version = version_of(inputs[0])", "pass"),
        Fault(
            "what has cut the graph is forgotten",
            "result._cut = cut",
            "result._cut = None",
        ),
        Fault(
            "a linear rule reads what it does not",
            'reads = [r for r in reads if not (r[1].dtype.kind == "f" if r[2] is PUBLIC else r[0]._requires_grad)]',
            "reads = list(reads)",
            "`check_unchanged` leaves them out as well: noting them takes memory and changes nothing",
        ),
        Fault(
            "a linear rule reads nothing",
            'reads = [r for r in reads if not (r[1].dtype.kind == "f" if r[2] is PUBLIC else r[0]._requires_grad)]',
            "reads = []",
        ),
        Fault(
            "a cast to integers is an error",
            'if rule.kind == "constant" or dtype.kind in "biu":',
            'if rule.kind == "constant":',
        ),
        Fault(
            "a Tensor as keyword loses its gradient", "        if isinstance(value, Tensor):\n", "        if False:\n"
        ),
        Fault("an assignment casts whatever comes", '{"casting": "same_kind"}', '{"casting": "unsafe"}'),
        Fault(
            "gradients on the way share memory",
            "                results[t] = gradients.given(t, g, shared)",
            "                results[t] = g",
        ),
        Fault(
            "gradients of leaves share memory",
            "            results[t] = gradients.given(t, gradients.complete(t), shared)",
            "            results[t] = gradients.complete(t)",
        ),
        Fault(
            "create_graph releases the graph",
            "if used and not (retain_graph or create_graph):",
            "if used and not retain_graph:",
        ),
        Fault(
            "what no rule has read is released",
            "if used and not (retain_graph or create_graph):",
            "if not (retain_graph or create_graph):",
        ),
        Fault(
            "the mode stays after a walk back",
            "        mode.grad_enabled = before\n        tracer.differentiates(None)",
            "        tracer.differentiates(None)",
        ),
        Fault(
            "a tracer is not told of the end",
            "        mode.grad_enabled = before\n        tracer.differentiates(None)",
            "        mode.grad_enabled = before",
        ),
        Fault(
            "sums in place change the memory layout",
            "elif t in self.own and not self.lifted and g.strides == before.strides:",
            "elif t in self.own and not self.lifted:",
        ),
        Fault("a view counts as our own", "if fresh and (g._data if self.lifted else g).base is None:", "if fresh:"),
        Fault(
            "a borrowed gradient is added to in place",
            "elif t in self.own and not self.lifted and",
            "elif not self.lifted and",
        ),
        Fault(
            "a sum of gradients does not keep its dtype",
            "self.sums[t] = fit(before + g, t._data)",
            "self.sums[t] = before + g",
            "a sum of gradients that fit fits as well; one without axes is a NumPy scalar on its way, and an array at its end",
        ),
        Fault("a gradient keeps its own dtype", "g = astype(g, x.dtype)", "pass"),
        Fault("one change is not noticed", "            if version != now[0]:", "            if now[0] > version + 1:"),
        Fault(
            "a node is never younger than a change",
            "if node.age <= last_change[0]:",
            "if True:",
            "the nodes are then looked at one by one, and found unchanged: the same in more time",
        ),
        Fault(
            "no node is looked at",
            "    counter[0] += 1\n    last_change[0] = next_age()\n",
            "    counter[0] += 1\n",
        ),
        Fault("a result that was changed is good", "    for a in (*node.inputs, t):", "    for a in node.inputs:"),
    ],
    "versions": [
        Fault(
            "a change through an array is not noticed",
            "if seen is not None and fingerprint(array, len(seen)) != seen:",
            "if False:",
        ),
        Fault(
            "an array that was handed out is nobody else's", "if seen is None and since == version and", "if False and"
        ),
        Fault("a handed out array is looked at as it is later", "version[2][0] != version[0]):", "True):"),
        Fault("nobody looks at what was handed out", "version[1])\n        last_change[0] = next_age()", "version[1])"),
        Fault("a large array is a single place", "[:: array.size // PLACES]", "[:: array.size]"),
        Fault("a new array of a leaf is its own", "        del self._version[1:]\n", ""),
    ],
    "autograd": [
        Fault(
            "a generator goes on outside of its context",
            "with self.context():\n            return self.body.send(value)",
            "with self.context():\n            pass\n        return self.body.send(value)",
        ),
        Fault("the oldest mode comes back first", "mode.outside.pop()", "mode.outside.pop(0)"),
        Fault(
            "a second gradient replaces the first",
            "g if leaf.grad is None else leaf.grad + g",
            "g if leaf.grad is None else g",
        ),
        Fault("the same input twice shares memory", "found[i] = np.copy(found[i])", "pass"),
        Fault(
            "the upstream gradient keeps its dtype",
            "g = g if g._data.dtype == dtype else astype(g, dtype)\n    check",
            "check",
        ),
        Fault(
            "no reason is given for a cut graph", 'which is constant" if cut else', 'which is constant" if False else'
        ),
        Fault(
            "retain_graph is not passed on",
            "retain_graph = create_graph if retain_graph is None else retain_graph\n",
            "retain_graph = create_graph\n",
        ),
    ],
    "func": [
        Fault("a Jacobian has no graph", "nullcontext() if create_graph else no_grad()", "no_grad()"),
        Fault(
            "what does not depend is an error",
            "return [_zeros(t) if g is None else g for t, g in zip(run.inputs, found, strict=True)]",
            "return list(found)",
        ),
        Fault("functions get a version of their own", "t = wrap(a._data, version=a._version)", "t = wrap(a._data)"),
        Fault(
            "a jacobian of a jacobian is constant",
            "return list(gradients_of(roots, inputs, upstream, graph or again, graph, True))",
            "return list(gradients_of(roots, inputs, upstream, graph or again, False, True))",
        ),
        Fault(
            "arrays that are kept are the caller's",
            "wrap(np.array(a) if kept else as_numbers(a))",
            "wrap(as_numbers(a))",
        ),
        Fault("positions from the end are positions", "places = [i % count for i in places]", "places = list(places)"),
        Fault("all results are Tensors", "if not self.plain:\n", "if True:\n"),
    ],
    "tensor": [
        Fault("integers ** -1 are 0", 'exponent in POWERS and self.dtype.kind in "fc"', "exponent in POWERS"),
        Fault(
            "replaced data keep their version",
            "        del self._version[1:]\n        changed(self)",
            "        del self._version[1:]",
        ),
        Fault(
            "a detached Tensor has its own version",
            "return wrap(self._data, version=version_of(self))",
            "return wrap(self._data)",
        ),
        Fault("a Tensor of a Tensor has its own version", "self._version = version_of(data)", "self._version = [0]"),
        Fault(
            "copy=True copies nothing",
            "dtype is None else dtype, copy=bool(copy))",
            "dtype is None else dtype, copy=False)",
        ),
        Fault("reduce goes over all axes", '{"axis": 0, **kwargs}', '{"axis": None, **kwargs}'),
        Fault(
            "an empty index is one of floats",
            "np.array(i, None if i else np.intp)",
            "np.array(i)",
        ),
        Fault(
            "number % t",
            "_binary(np.remainder), _reflected(np.remainder)",
            "_binary(np.remainder), _binary(np.remainder)",
        ),
        Fault(
            "//= and %= are exchanged",
            "_in_place(operator.floordiv), _in_place(operator.mod)",
            "_in_place(operator.mod), _in_place(operator.floordiv)",
        ),
        Fault("^ is |", "_binary(np.bitwise_xor), _reflected", "_binary(np.bitwise_or), _reflected"),
        Fault("<= is <", "_binary(np.less), _binary(np.less_equal)", "_binary(np.less), _binary(np.less)"),
        Fault(
            "argmin is argmax",
            "self._over(np.argmin, words, axis=axis)",
            "self._over(np.argmax, words, axis=axis)",
        ),
        Fault(
            "std forgets ddof",
            "np.std, words, axis=axis, ddof=ddof,",
            "np.std, words, axis=axis, ddof=0,",
        ),
        Fault("round forgets its decimals", '{"decimals": decimals}', '{"decimals": 0}'),
        Fault(
            "sum forgets its dtype",
            "axis=axis, dtype=dtype, keepdims=keepdims)",
            "axis=axis, keepdims=keepdims)",
        ),
        Fault(
            "data of integers can require grad",
            "if self._requires_grad and array.dtype.kind",
            "if False and array.dtype.kind",
        ),
        Fault(
            "take forgets its axis",
            'return self._call(np.take, (self, indices), {"axis": axis, **words})',
            "return self._call(np.take, (self, indices), {**words})",
        ),
        Fault("a long repr is not cut", "threshold=100, edgeitems=3", "threshold=10**6, edgeitems=3"),
    ],
    "functional": [
        Fault("gelu has another constant", "0.044715 * (x * x * x)", "0.0447 * (x * x * x)"),
        Fault("dropout forgets to scale", "x * (1 / (1 - p) if p < 1 else 1.0))", "x)"),
        Fault("the running variance is biased", "(momentum * count / (count - 1)) * var", "momentum * var"),
        Fault(
            "a target of float64 decides the dtype",
            "return prediction, target if fits else target.astype(prediction.dtype)",
            "return prediction, target",
        ),
        Fault(
            "a distribution of float64 decides the dtype",
            "return target if target.dtype == scores.dtype else target.astype(scores.dtype)",
            "return target",
        ),
        Fault("no labels have a largest one", "if labels.size and not (whole", "if not (whole"),
        Fault("a negative label counts from the end", "and labels[labels.argmin()] >= 0 and", "and"),
        Fault(
            "a label with a fraction is whole",
            "not issubclass(labels.dtype.type, np.floating) or (labels == np.floor(labels)).all()",
            "True",
        ),
        Fault("NaN is a probability", "bad = ~((p >= 0) & (p <= 1))", "bad = (p < 0) | (p > 1)"),
        Fault(
            "layer_norm adds eps outside of the root",
            "np.sqrt(x.var(axis=axes, keepdims=True) + eps)",
            "(np.sqrt(x.var(axis=axes, keepdims=True)) + eps)",
        ),
        Fault("one class is a choice", "if classes < 2:", "if classes < 1:"),
        Fault(
            "smoothing adds up classes",
            "label_smoothing * log_probs.mean(axis=1)",
            "label_smoothing * log_probs.sum(axis=1)",
        ),
        Fault("no single value is refused in training", "if training and count < 2:", "if count < 2:"),
        Fault(
            "huber is linear too early",
            "near = np.minimum(distance, delta)",
            "near = np.minimum(distance, 0.9 * delta)",
        ),
        Fault(
            "a smoothing beyond 1",
            '"label_smoothing", label_smoothing, 0, 1,',
            '"label_smoothing", label_smoothing, 0, 2,',
        ),
        Fault("no result of a softmax is seen", "node is not None and node.rule.name == made_by", "False"),
        Fault("any result is one of a softmax", "node is not None and node.rule.name == made_by", "node is not None"),
    ],
    "optim": [
        Fault(
            "small gradients are made larger",
            "factor = np.minimum(max_norm / (norm + 1e-6), 1.0)",
            "factor = max_norm / (norm + 1e-6)",
        ),
        Fault("a norm has no root", "** (1 / norm_type)", ""),
        Fault(
            "the warm-up is one step short", "return (step + 1) / (self.warmup + 1)", "return (step + 1) / self.warmup"
        ),
        Fault("the warm-up begins at 0", "return (step + 1) / (self.warmup + 1)", "return step / self.warmup"),
        Fault(
            "the cosine rises again",
            "math.pi * min(1.0, share)",
            "math.pi * share",
        ),
        Fault(
            "the cosine forgets the warm-up",
            "(step - self.warmup) / max(1, (self.T_max or math.inf) - self.warmup)",
            "step / (self.T_max or 1)",
        ),
        Fault(
            "the top of the cycle is a step late",
            "top = self.pct_start * (last + 1) - 1",
            "top = self.pct_start * (last + 1)",
        ),
        Fault("a plateau counts epochs of cooling down", "self.cooling, self.bad_epochs = self.cooling - 1, 0", "pass"),
        Fault(
            "a schedule that fit has sized is sized again",
            "if self.total and getattr(self, self.total) is None:\n            setattr",
            "if self.total:\n            setattr",
        ),
        Fault(
            "the mean of RMSprop is not taken off",
            "after[0] - after[1] * after[1] if centered else after[0]",
            "after[0]",
        ),
        Fault("the cycle ends too high", "1 / (div_factor * final_div_factor)", "1 / final_div_factor"),
        Fault(
            "one group has a cycle",
            "[max_lr] * len(self.base_lrs)",
            "[max_lr, *self.base_lrs[1:]]",
        ),
        Fault(
            "a loaded schedule sets no rate",
            "base_lrs=list(rates))\n        self._set()",
            "base_lrs=list(rates))",
        ),
        Fault(
            "parameters of unequal age are corrected alike",
            'together.setdefault(state.get("step", 0), [])',
            "together.setdefault(0, [])",
        ),
        Fault(
            "zero_grad forgets groups",
            "for p in self._all_params():\n            p.grad = None",
            'for p in self.param_groups[0]["params"]:\n            p.grad = None',
        ),
        Fault("nesterov with dampening", 'group["momentum"] == 0 or group["dampening"] != 0', 'group["momentum"] == 0'),
        Fault("dampening does nothing", "undamped * g if undamped != 1 else g", "g"),
        Fault(
            "eps of 0",
            "dict(betas=_check_betas, eps=check_positive)",
            "dict(betas=_check_betas, eps=check_not_negative)",
        ),
        Fault(
            "the buffers are laid out by rows",
            "buffer = wrap(np.empty_like(p._data))",
            "buffer = wrap(np.empty(p._data.shape, p._data.dtype))",
        ),
        Fault(
            "the state of an optimizer is live",
            "return value._data.copy() if isinstance(value, Tensor) else value",
            "return value._data if isinstance(value, Tensor) else value",
        ),
        Fault("other options load", "if mine.keys() != theirs.keys():", "if False:"),
        Fault("a state of other keys loads", "if found != sorted(keys):", "if False:"),
        Fault("a buffer is made that no option needs", 'scalars.get(self.optional.get(b, ""), True)', "True"),
        Fault("a plateau counts by any number", "| dict(bad_epochs=_check_count, cooling=_check_count)", ""),
        Fault("buffers of another shape load", "if array.shape != p.shape:", "if False:"),
        Fault(
            "an update in place is not counted",
            "                np.copyto(target._data, value)\n            changed(target)",
            "                np.copyto(target._data, value)",
        ),
        Fault("a parameter in two groups", "seen = set(present)", "seen: set[Any] = set()"),
        Fault(
            "a warm-up of all steps",
            "is None else (T_max - 1,",
            "is None else (T_max,",
        ),
        Fault("decay of AdamW is not scaled by the rate", "shrink = 1 - lr * decay if", "shrink = 1 - decay if"),
        Fault(
            "eps stands inside of the root",
            "scale /= correction\n        scale += eps",
            "scale += eps\n        scale /= correction",
        ),
        Fault("nesterov looks back", "(g + momentum * buf if nesterov", "(g + buf if nesterov"),
        Fault("a state for no parameter loads", "if str(i) not in numbers:", "if False:"),
    ],
    "nn": [
        Fault(
            "float64 loads into float32",
            "if (array.shape, array.dtype) != (own[key].shape, own[key].dtype)",
            "if array.shape != own[key].shape",
        ),
        Fault("a buffer that is None is state", "if vars(self).get(name) is not None)", "if name in vars(self))"),
        Fault(
            "a module contains itself",
            "if isinstance(value, Module) and any(module is self for module in value.modules()):",
            "if value is self:",
        ),
        Fault(
            "buffers have no names",
            "for name, tensor in (*self.named_parameters(), *self.named_buffers()):",
            "for name, tensor in self.named_parameters():",
        ),
        Fault("a list is no input", "return x if isinstance(x, Tensor) else Tensor(x)", "return x"),
        Fault(
            "no samples cannot be flattened",
            "x.reshape(x.shape[0], math.prod(x.shape[1:]))",
            "x.reshape(x.shape[0], -1)",
        ),
        Fault("biases of an MLP are random", "assign(layer.bias, 0.0)", "pass"),
        Fault("LayerNorm forgets eps", "self.weight, self.bias, self.eps)", "self.weight, self.bias)"),
        Fault(
            "BatchNorm forgets eps in evaluation", "*affine, self.training, eps=self.eps)", "*affine, self.training)"
        ),
        Fault("BatchNorm forgets eps in training", "*affine, True, momentum, self.eps)", "*affine, True, momentum)"),
        Fault(
            "True is a size",
            "    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):\n        raise TypeError",
            "    if not isinstance(value, (int, np.integer)):\n        raise TypeError",
        ),
        Fault("batch norm of an MLP has its own dtype", "BatchNorm1d(size_in, dtype=dtype)", "BatchNorm1d(size_in)"),
        Fault(
            "a bias is spread otherwise",
            "init.uniform_(self.bias, -1 / math.sqrt(in_features), 1 / math.sqrt(in_features), rng=rng)",
            "init.uniform_(self.bias, -1 / math.sqrt(out_features), 1 / math.sqrt(out_features), rng=rng)",
        ),
        Fault("a weight is laid out otherwise", 'order="F" if is_wide(shape) else "C"', 'order="C"'),
        Fault(
            "a plain average forgets that it is one",
            "1 / batches if self.momentum is None else self.momentum",
            "0.1 if self.momentum is None else self.momentum",
        ),
        Fault(
            "a slice renames its modules",
            "vars(part).update(list(self.named_children())[index])",
            "[setattr(part, k, v) for k, v in list(self.named_children())[index]]",
        ),
        Fault(
            "a loss forgets its reduction",
            "return self.function(prediction, target, reduction=self.reduction, **options)",
            "return self.function(prediction, target, **options)",
        ),
        Fault("Huber forgets delta", 'options = ("delta",)', "options = ()"),
        Fault("smoothing is forgotten", 'options = ("weight", "label_smoothing")', 'options = ("weight",)'),
        Fault(
            "a gain is forgotten", 'return gain * math.sqrt(2 / (fans["fan_in"]', 'return math.sqrt(2 / (fans["fan_in"]'
        ),
        Fault("fan_out is fan_in", "math.prod(tensor.shape[:1] + tensor.shape[2:])", "math.prod(tensor.shape[:1])"),
        Fault(
            "the slope of a leaky relu is forgotten",
            "return calculate_gain(nonlinearity, a) / math.sqrt(fans[mode])",
            "return calculate_gain(nonlinearity) / math.sqrt(fans[mode])",
        ),
        Fault(
            "a state shares memory",
            'return {name: tensor._data.copy(order="K") for name, tensor in self._state().items()}',
            "return {name: tensor._data for name, tensor in self._state().items()}",
        ),
        Fault(
            "a shared parameter has one key",
            "return dict(self._named(Module._own_parameters, Module._own_buffers))",
            "return dict(_once(self._named(Module._own_parameters, Module._own_buffers)))",
        ),
        Fault(
            "LogSoftmax is Softmax",
            "    function = staticmethod(functional.log_softmax)",
            "    function = staticmethod(functional.softmax)",
        ),
    ],
    "gradcheck": [
        Fault(
            "buffers stay changed",
            "        for buffer, data in self.buffers:\n            buffer[...] = data",
            "        pass",
        ),
        Fault(
            "a step must not leave the domain",
            "with suppress(ValueError):\n            change = s",
            "if True:\n            change = s",
        ),
        Fault("shared memory is no problem", "if np.shares_memory(g, h)]", "if False]"),
        Fault(
            "a second pass may differ",
            'law("a second backward pass gives another gradient", _differ(s, pull(s.upstream.copy()), first))',
            "pass",
        ),
        Fault("a gradient of float32 is no problem", "if g.dtype != np.float64])", "if False])"),
        Fault("a random function is no problem", "if not same(s.value(s.x), s.y):", "if False:"),
        Fault("exchanged elements cancel", "for d in signs * rng.uniform(0.5, 1.5, signs.shape)]", "for d in signs]"),
        Fault(
            "an upstream gradient that is forgotten is no problem",
            'law("a zero upstream gradient does not give a zero gradient", _differ(s, pull(0 * u), [0 * g for g in first]))',
            "pass",
        ),
        Fault(
            "a gradient that bends is no problem",
            'law("the gradient is not linear in the upstream gradient", _bends(s, pull, found, rng))',
            "pass",
        ),
        Fault(
            "what is not finite has a derivative",
            'if self.y.dtype.kind != "f" or not np.isfinite(self.y).all():',
            'if self.y.dtype.kind != "f":',
        ),
        Fault(
            "a written upstream gradient is no problem",
            's.changed() + ["upstream gradient"] * (not same(u, s.upstream))',
            "s.changed()",
        ),
        Fault("nobody looks at other inputs", 'return [e for e in elements if e.verdict == "fail"]', "return []"),
        Fault("ties are not moved together", "if sum(e.kink is not None for e in elements) < 2:", "if True:"),
        Fault("few neighbours of a kink", "NEIGHBOURS = (16, 64, 256)", "NEIGHBOURS = (16,)"),
        Fault(
            "flat is right",
            'return "pass" if rtol < 0.1 and resolved else "unresolved"',
            'return "pass"',
        ),
        Fault(
            "the rounding of a gradient does not count",
            "+ 10 * (slope.estimate + error) < math.inf:",
            "+ 10 * slope.estimate < math.inf:",
        ),
        Fault(
            "a failure of the complex step always counts",
            'if said == "pass" or (said == "fail" and sure):',
            'if said != "unresolved":',
        ),
        Fault("a mean over 2", "for n in (*a.shape, a.size) if n > 2}", "for n in (*a.shape, a.size) if n > 1}"),
        Fault(
            "no wrong element is none of many",
            '(not wrong.any(), "no single element that was looked at is wrong, but all together are"),',
            "",
        ),
        Fault(
            "large numbers overflow",
            "return largest * float(np.sqrt(np.square(np.asarray(a) / largest).sum())) if 0 < largest < np.inf else largest",
            "return float(np.sqrt(np.square(np.asarray(a)).sum()))",
        ),
        Fault(
            "a constant op has one branch",
            'if rule.branch is not None or (rule.kind == "constant" and not rule.effect):',
            "if rule.branch is not None:",
        ),
        Fault("every matrix is well conditioned", "if rule.inverts and self.condition == 1.0:", "if False:"),
        Fault(
            "a kink is smooth",
            "slope.numeric - best.numeric) > 10 * (slope.estimate + best.estimate)",
            "slope.numeric - best.numeric) > 1e30",
        ),
        Fault("extrapolation is one order lower", "sixth = (16 * fourth[1] - fourth[0]) / 15", "sixth = fourth[1]"),
        Fault(
            "the noise of the function does not count",
            "sides, rounding = (4 * once[:, 1] - once[:, 0]) / 3, 4 * noise / h",
            "sides, rounding = (4 * once[:, 1] - once[:, 0]) / 3, 0.0",
        ),
        Fault(
            "the best element of an input is shown",
            "return [max(group, key=Element.badness) for _, group in groups]",
            "return [min(group, key=Element.badness) for _, group in groups]",
        ),
        Fault(
            "the worst come last",
            'if e.verdict != "pass"), key=Element.badness, reverse=True)',
            'if e.verdict != "pass"), key=Element.badness)',
        ),
        Fault(
            "texts of a report are markup",
            "verdicts.sub(paint, notebook.escape(str(self)))",
            "verdicts.sub(paint, str(self))",
        ),
        Fault(
            "digits that differ are not shown",
            "digits = min(max(9, math.ceil(2 - math.log10(self.error))), 17)",
            "digits = 6",
        ),
    ],
    "anomaly": [
        Fault(
            "infinities inside of a rule are found",
            "if self.node is None and (bad := not_finite(result._data)):",
            "if (bad := not_finite(result._data)):",
        ),
        Fault(
            "nobody looks after the walk back",
            "        if t is None:\n            self.node = None\n",
            "        if t is None:\n",
        ),
        Fault(
            "two observers at once",
            '        raise GraphError(f"{name}: this thread\'s ops are being watched already; leave that context first")',
            "        pass",
        ),
        Fault(
            "the first bad entry is the last",
            'np.unravel_index(bad.argmax(), bad.shape))\n    return f"{bad.sum()}',
            'np.unravel_index(bad.size - 1 - bad[..., ::-1].argmax(), bad.shape))\n    return f"{bad.sum()}',
        ),
        Fault("ranges are not those of finite entries", "finite = array[np.isfinite(array)]\n", "finite = array\n"),
    ],
    "drawing": [
        Fault("names of nodes are not escaped in DOT", "return escape(_printable(text)", "return (_printable(text)"),
        Fault("a backslash is one of Graphviz's", r""".replace("\\", "\\\\"))""", ")"),
        Fault("options that are off are drawn", "and v is not None and v is not False", "and v is not None"),
        Fault("a norm is that of all numbers", "finite = np.isfinite(array)\n", "finite = np.isfinite(array) | True\n"),
        Fault("the graph is used up", "grad(output, tensors, retain_graph=True,", "grad(output, tensors,"),
        Fault("what is written to is what it was", "sources.pop(0).kind", "sources[0].kind"),
        Fault(
            "an update ends with its first write",
            'call.output.kind == "state" or before.output.kind != "state"',
            'before.output.kind != "state"',
        ),
        Fault("notebooks draw what takes minutes", "if self.nodes > LARGEST:", "if False:"),
        Fault("results that leave a module are one", "v in leaving or v.result", "v.result"),
        Fault(
            "an array that two modules read stands in one",
            "vertices[key].frame = _common(vertices[key].frame, frame)",
            "pass",
        ),
        Fault(
            "a dtype is always drawn", "str(array.shape) if array.dtype == usual else", "str(array.shape) if False else"
        ),
        Fault(
            "folding draws an edge twice",
            "ends = dict.fromkeys((whole.get(a, a), whole.get(b, b)) for a, b in edges)",
            "ends = [(whole.get(a, a), whole.get(b, b)) for a, b in edges]",
        ),
    ],
    "chain": [
        Fault("a part has the shape that the rule gives", "inline(fit(part, a._data))", "inline(part)"),
        Fault("a name is given twice", "taken.remove(t.name)", "pass"),
        Fault("hooks are not told", "if any(not hook.retains for hook in t._hooks)", "if False"),
    ],
    "notebook": [
        Fault("an ampersand is an entity", '.replace("&", "&amp;")', ""),
        Fault("a tag in a name is one", '.replace("<", "&lt;")', ""),
        Fault("the cause is forgotten", "error.__cause__, error.__suppress_context__ = before", "pass"),
        Fault("the cause is shown", "error.__cause__ = None", "pass"),
        Fault("frames of the package are shown", "_NOT_THE_USERS = (_HOME, ", "_NOT_THE_USERS = ("),
        Fault("the bar stays", 'self.handle.update(self.page(""))', "pass"),
        Fault("the mark is at the start", "key=lambda i: abs(steps[i] - at)", "key=lambda i: i"),
    ],
    "summary": [
        Fault("products of three count as those of two", "* (len(operands) - 1)", "* 1"),
        Fault(
            "a stretched index counts as 1",
            "max(n for other, n in pairs if other == letter)",
            "min(n for other, n in pairs if other == letter)",
        ),
        Fault(
            "a generator goes on",
            "            for rng, state in zip(drawing, states, strict=True):\n                set_generator(rng, state)",
            "            pass",
        ),
        Fault("attributes stay changed", "            now.clear()\n            now.update(before)", "            pass"),
        Fault(
            "new attributes stay",
            "            now.clear()\n            now.update(before)",
            "            now.update(before)",
        ),
        Fault(
            "buffers stay changed in a summary",
            "                if buffer._data.tobytes() != array.tobytes():\n                    assign(buffer, array)",
            "                pass",
        ),
        Fault("a shared parameter counts twice", "        seen |= state\n", ""),
        Fault(
            "a model is always called in float32",
            "dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))\n    meter",
            "dtype = np.dtype(np.float32)\n    meter",
        ),
        Fault(
            "a name is markup",
            "{escape(_text(value))}</{tag}>",
            "{_text(value)}</{tag}>",
        ),
        Fault(
            "a module of no layer has no row",
            "if parameters or products or not any(module.children()):",
            "if not any(module.children()):",
        ),
        Fault(
            "an error leaves a module running",
            "        finally:\n            self.running.pop()",
            "        except ZeroDivisionError:\n            pass\n        self.running.pop()",
        ),
    ],
    "data": [
        Fault(
            "pixels are rounded twice",
            "return np.divide(pixels, 255, dtype=np.float32)",
            "return pixels * np.float32(1 / 255)",
        ),
        Fault("256 is a pixel", "(pixels < 0) | (pixels > 255)", "(pixels < 0) | (pixels > 256)"),
        Fault("rows are counted from the block", 'f"row {start + row}"', 'f"row {row}"'),
        Fault(
            "only the first block is checked",
            "for start in range(0, len(value), size):\n        block",
            "for start in range(0, size, size):\n        block",
        ),
        Fault(
            "an absent integer is an error",
            "value = frame.to_numpy(np.float64, na_value=np.nan)",
            "value = frame.to_numpy(np.float64)",
            "newer versions of pandas fill with NaN by themselves, older ones raise",
        ),
        Fault(
            "frames of several dtypes are objects",
            'if value.dtype == object and all(getattr(dtype, "kind", "O") in "biuf" for dtype in dtypes):',
            "if False:",
        ),
        Fault("bytes after an array do no harm", "if member.read(1):", "if False:"),
        Fault(
            "rows and labels of an npz may differ in number",
            'raise DataError(f"X has {len(X)} rows and y has {len(y)}")',
            "pass",
        ),
        Fault("a file that is cut is MNIST", "if len(X) != ROWS:", "if len(X) > ROWS:"),
        Fault("images of another size", "tuple(rest) != row_shape or", ""),
        Fault(
            "the order is drawn late",
            "order = np.arange(count) if rng is None else rng.permutation(count)\n    return (order[start : start + batch_size] for start in range(0, count, batch_size))",
            "return (\n        o[start : start + batch_size]\n        for o in map(lambda n: np.arange(n) if rng is None else rng.permutation(n), [count])\n        for start in range(0, count, batch_size)\n    )",
        ),
        Fault(
            "a text is remembered for another",
            "return self.setdefault(cell, value)",
            "return self.setdefault('', value)",
        ),
        Fault("the tail of a pixel is rounded away", "number == int(number)", "float(number) == int(number)"),
        Fault(
            "an empty cell is not called so", 'found = describe(cell) if cell else "nothing"', "found = describe(cell)"
        ),
    ],
    "metrics": [
        Fault(
            "equal scores all rank first",
            "(scores > own) | ((scores == own) & (np.arange(num_classes) < true[:, None]))",
            "scores > own",
        ),
        Fault(
            "f1 is the mean",
            "2 * hits / np.maximum(support + found, 1)",
            "(hits / np.maximum(support, 1) + hits / np.maximum(found, 1)) / 2",
        ),
        Fault("labels of two ones are one-hot", "and (labels.sum(axis=1) == 1).all()):", "):"),
        Fault("scores of another number of classes", "if widths and num_classes not in (None, *widths):", "if False:"),
        Fault(
            "only predictions count classes", "1 + int(max(predicted.max(), true.max()))", "1 + int(predicted.max())"
        ),
        Fault("a NaN is the best score", "if (bad := np.isnan(values)).any():", "if False:"),
        Fault("k of 0", 'check_integer("k", k, 1, num_classes,', 'check_integer("k", k, 0, num_classes,'),
        Fault(
            "the confusion matrix is transposed",
            "np.add.at(counts, (true, predicted), 1)",
            "np.add.at(counts, (predicted, true), 1)",
        ),
    ],
    "augment": [
        Fault(
            "no image moves all the way",
            "rng.integers(0, 2 * pixels + 1, (2, len(images)))",
            "rng.integers(0, 2 * pixels, (2, len(images)))",
        ),
        Fault(
            "scales are not inverted",
            "a, b = 1 / rng.uniform(low, high, (2, count))",
            "a, b = rng.uniform(low, high, (2, count))",
        ),
        Fault(
            "noise is never negative",
            "noise = 2 * rng.random((len(source), 2, *shape), np.float32) - 1",
            "noise = rng.random((len(source), 2, *shape), np.float32)",
        ),
        Fault("noise is smoothed otherwise at the edge", 'smoothness, mode="constant")', 'smoothness, mode="nearest")'),
        Fault(
            "each block has the first shifts", "(shifts[block] + centre)", "(shifts[: len(matrices[block])] + centre)"
        ),
        Fault("the last group is cut", "inner[full:, :rest] = images[full * group :]", "pass"),
        Fault("rotation and shear change places", "[(s + c * k) * a, c * b]", "[(s - c * k) * a, c * b]"),
        Fault(
            "positions are not kept inside",
            "position = np.clip(source + 1, 0, last + 1)",
            "position = np.clip(source + 1, 0, last)",
        ),
        Fault(
            "a move as wide as the image",
            'check_integer("pixels", pixels, 0, max(shape) - 1)',
            'check_integer("pixels", pixels, 0, max(shape))',
        ),
        Fault(
            "the centre is half a pixel off",
            "(np.array(shape, np.float32)[:, None] - 1) / 2",
            "np.array(shape, np.float32)[:, None] / 2",
        ),
        Fault(
            "directions share their noise",
            "rng.random((len(source), 2, *shape), np.float32)",
            "rng.random((len(source), 1, *shape), np.float32).repeat(2, 1)",
        ),
    ],
    "history": [
        Fault("steps are shown", 'NOT_SHOWN = ("step", "samples_per_second")', 'NOT_SHOWN = ("samples_per_second",)'),
        Fault(
            "a bar is never renewed",
            "if self.bar is not None and self.bar.update():",
            "if self.bar is not None and not self.bar.update():",
        ),
        Fault(
            "a bar goes on after the end",
            "            self.bar.close()\n        self.bar = None",
            "            self.bar.close()",
        ),
        Fault("a narrow column", "return max(WIDTH, *map(len, pair))", "return WIDTH"),
        Fault("a line goes through the bar", "            self.bar.write(text)", "            print(text, flush=True)"),
        Fault("seconds have four digits", 'if name == "seconds":', 'if name == "second":'),
    ],
    "callbacks": [
        Fault(
            "the last reason counts",
            "self.history.stopped = self.history.stopped or reason",
            "self.history.stopped = reason",
        ),
        Fault("an equal value improves", "> self.min_delta  # never", ">= self.min_delta  # never"),
        Fault(
            "patience is one longer",
            "run.epoch - self.best_epoch >= self.patience",
            "run.epoch - self.best_epoch > self.patience",
        ),
        Fault(
            "an accuracy is best when small",
            '"max" if "accuracy" in self.monitor else None',
            '"min" if "accuracy" in self.monitor else None',
        ),
        Fault(
            "a checkpoint forgets the schedule",
            '"optimizer": run.optimizer, "schedule": run.schedule, "training"',
            '"optimizer": run.optimizer, "schedule": None, "training"',
        ),
        Fault("a log is written at the end", "        self.file.flush()\n", ""),
        Fault("a new column is an error", 'extrasaction="ignore"', 'extrasaction="raise"'),
        Fault(
            "averaging begins an epoch early",
            "if run.epoch <= self.start * run.epochs:",
            "if run.epoch < self.start * run.epochs:",
        ),
        Fault("an average is one of float32", "np.zeros(array.shape))  # in float64", "np.zeros_like(array))"),
        Fault(
            "whole numbers are averaged",
            '            if array.dtype.kind == "f":\n                before',
            "            if True:\n                before",
        ),
        Fault(
            "the first average begins at 0",
            "if self.decay is None or self.count == 1 else",
            "if self.decay is None else",
        ),
        Fault(
            "weights of another run come back",
            "super().on_train_begin(run)\n        self.weights: dict[str, Any] | None = None",
            'super().on_train_begin(run)\n        self.weights: dict[str, Any] | None = getattr(self, "weights", None)',
        ),
        Fault(
            "the average of another run goes on",
            "self.average: dict[str, Any] = {}\n        self.count = 0",
            'self.average, self.count = getattr(self, "average", {}), getattr(self, "count", 0)',
        ),
        Fault(
            "rates of another run stay",
            "run: Run) -> None:\n        self.lr: list[float] = []",
            'run: Run) -> None:\n        self.lr: list[float] = getattr(self, "lr", [])',
        ),
        Fault(
            "the best value of another run counts",
            "self.best, self.best_epoch = self.sign * math.inf, 0",
            'self.best, self.best_epoch = getattr(self, "best", self.sign * math.inf), 0',
        ),
    ],
    "checkpoint": [
        Fault("a file is not synced", "            os.fsync(file.fileno())\n", ""),
        Fault("a link is followed", 'path.open("xb")', 'path.open("wb")'),
        Fault("a failed write stays", "            temporary.unlink()", "            pass"),
        Fault("a key twice", "if len(state := dict(items)) == len(items):", "if (state := dict(items)) is not None:"),
        Fault(
            "arrays that nothing names",
            '    if arrays:\n        raise CheckpointError(f"{STRUCTURE}: expected all',
            '    if False:\n        raise CheckpointError(f"{STRUCTURE}: expected all',
        ),
        Fault(
            "bytes before the archive",
            "if archive.comment != mark[0] or members[0].header_offset != 0:",
            "if archive.comment != mark[0]:",
        ),
        Fault(
            "members may be larger than the file",
            "if (total := sum(member.file_size for member in members)) > len(data):",
            "if (total := 0) > len(data):",
        ),
        Fault("a header may lie about its size", "if expected != found:", "if expected < found:"),
        Fault(
            "arrays for PyTorch lie by columns", '{key: np.asarray(array, order="C") for', "{key: np.asarray(array) for"
        ),
        Fault(
            "two names that are one",
            '    if name in arrays:\n        raise ValueError(f"the state holds two',
            '    if False:\n        raise ValueError(f"the state holds two',
        ),
        Fault("a newer format loads", "if int(mark[1]) != VERSION:", "if int(mark[1]) < VERSION:"),
        Fault(
            "a folder is replaced",
            "if path.exists() and not path.is_file():\n        raise FileExistsError",
            "if False:\n        raise FileExistsError",
        ),
    ],
    "resume": [
        Fault("Generators of closures are not found", "values.append(cell.cell_contents)", "pass"),
        Fault(
            "Generators of methods are not found", "yield from (value.__self__, value.__func__)", "yield value.__func__"
        ),
        Fault("what a Generator has spawned is forgotten", "    if missing > 0:", "    if False:"),
        Fault(
            "parts that fit stay changed",
            "        for (part, _), old in zip(pairs, before, strict=True):\n            _set_state(part, old)\n        raise",
            "        raise",
        ),
        Fault("nobody warns of another machine", "    _warn_of_others(state", "    str(state"),
        Fault(
            "the newest is damaged and taken",
            "            load(candidate)\n            return candidate",
            "            return candidate",
        ),
        Fault("ten comes before two", "for i in sorted(numbers))", "for i in sorted(map(str, numbers)))"),
    ],
    "training": [
        Fault(
            "the order goes on from where it was drawn",
            "            set_generator(self.order, self.start)",
            "            pass",
        ),
        Fault("callbacks begin anew", "            callback.load_state_dict(kept)", "            pass"),
        Fault(
            "numbers of modules are forgotten",
            "                put_back(owners[path], {attribute: value})",
            "                pass",
        ),
        Fault("scalars of NumPy come back as arrays", "        return value[()]\n", "        return value\n"),
        Fault("frozen parameters come back as Tensors", "return isinstance(value, Parameter) or (", "return ("),
        Fault("a Counter comes back as a dict", "and type(mine) is not dict and", "and False and"),
        Fault(
            "the best weights come back with scalars",
            'self.weights = state_dict.get("weights")',
            "self.weights = self.weights",
        ),
        Fault(
            "what is frozen is forgotten", "                owners[path].requires_grad = value", "                pass"
        ),
        Fault(
            "the row of an epoch that was broken off stays",
            '[row for row in state["rows"] if not run.position or row["epoch"] < run.epoch]',
            'state["rows"]',
        ),
        Fault("an interrupt ends it for good", 'None if state["stopped"] == "interrupted" else', ""),
        Fault("other data are taken", '            if state["settings"].get(name) != value', "            if False"),
    ],
    "plot": [
        Fault(
            "an epoch without validation breaks the curve",
            "known = frame[column].notna()",
            "known = frame[column].notna() | True",
        ),
        Fault(
            "the largest weight is the limit",
            "np.quantile(np.abs(weights), 0.995) or 1.0",
            "np.quantile(np.abs(weights), 1.0) or 1.0",
        ),
        Fault(
            "a zero layer has no scale",
            "np.quantile(np.abs(weights), 0.995) or 1.0",
            "np.quantile(np.abs(weights), 0.995)",
        ),
        Fault("the rate has an axis that begins anywhere", "        axes.set_ylim(bottom=0)", "        pass"),
        Fault(
            "layers stand upside down",
            "axes.set_ylim(len(gradients) - 0.5, -0.5)",
            "axes.set_ylim(-0.5, len(gradients) - 0.5)",
        ),
        Fault(
            "the loss is not the first panel",
            'key=lambda name: (name != "loss", name == "lr")',
            'key=lambda name: name == "lr"',
        ),
        Fault(
            "the least sure mistakes come first",
            'np.argsort(-confidence[wrong], kind="stable")',
            'np.argsort(confidence[wrong], kind="stable")',
        ),
        Fault(
            "equal mistakes come in any order",
            'np.argsort(-confidence[wrong], kind="stable")',
            "np.argsort(confidence[wrong])[::-1]",
        ),
        Fault(
            "a share is one of the column",
            "np.maximum(counts.sum(axis=1, keepdims=True), 1)",
            "np.maximum(counts.sum(axis=0, keepdims=True), 1)",
        ),
        Fault(
            "a number in a dark cell is black",
            "if norm(shares[row, column]) > 0.6 else",
            "if norm(shares[row, column]) > 1.6 else",
        ),
        Fault(
            "gradients are averaged in float32",
            "np.abs(as_array([] if gradient is None else gradient), dtype=np.float64)",
            "np.abs(as_array([] if gradient is None else gradient))",
        ),
    ],
    "fit": [
        Fault(
            "the schedule comes before the callbacks",
            "        for listener in listeners:\n            listener.on_batch_end(run)\n"
            "        if run.schedule is not None and not run.schedule.by_epoch:\n            run.schedule.step()",
            "        if run.schedule is not None and not run.schedule.by_epoch:\n            run.schedule.step()\n"
            "        for listener in listeners:\n            listener.on_batch_end(run)",
        ),
        Fault(
            "augmented batches have their own dtype",
            "augment(xb, rng), len(at)).astype(samples.dtype, copy=False)",
            "augment(xb, rng), len(at))",
        ),
        Fault(
            "single rows for batch norm", "single = (count % size or size) == 1 and", "single = count % size == 1 and"
        ),
        Fault("batch norm takes a single row", "    needs_several_rows = True\n", ""),
        Fault("a cycle has no end", "    ends = True\n", ""),
        Fault("augmentation changes the order", "(self.rng,) = order.spawn(1)", "self.rng = order"),
        Fault(
            "a share is rounded down",
            "max(1, round(validation * len(samples)))",
            "max(1, int(validation * len(samples)))",
        ),
        Fault("127 is no pixel", "127 < block.max() <= 255", "128 < block.max() <= 255"),
        Fault("pixels with fractions are noticed", " and not (block % 1).any()", ""),
        Fault(
            "frozen modules are unknown ones",
            "if any(parameter.requires_grad for parameter in module.parameters()):",
            "if any(True for parameter in module.parameters()):",
        ),
        Fault("sums of 2 are distributions", "- 1) > 1e-3)", "- 1) > 1.1)"),
        Fault(
            "a negative label is found late",
            "{int(y.argmin()), int(y.argmax()), int((y % 1 != 0).argmax())}",
            "{int(y.argmax()), int((y % 1 != 0).argmax())}",
        ),
        Fault(
            "a fraction is found late",
            "{int(y.argmin()), int(y.argmax()), int((y % 1 != 0).argmax())}",
            "{int(y.argmin()), int(y.argmax())}",
        ),
        Fault(
            "the last layer is called the first",
            "if not self.found and isinstance(tensor, Tensor) and",
            "if isinstance(tensor, Tensor) and",
        ),
        Fault("gradients are not looked at", "if p._grad is not None and (bad := _bad(", "if False and (bad := _bad("),
        Fault("a large sum of squares is infinite", "flat[~np.isfinite(flat)]", "flat"),
        Fault(
            "a diagnosis changes the model",
            'with unchanged(model), no_grad(), np.errstate(all="ignore"), tracing(check, "fit"):',
            'with no_grad(), np.errstate(all="ignore"), tracing(check, "fit"):',
        ),
        Fault("a bar ends early", "-(-len(samples) // batch_size)", "len(samples) // batch_size"),
        Fault(
            "a metric replaces a column",
            'if name in RESERVED or name.startswith("validation_"):',
            'if name.startswith("validation_"):',
        ),
        Fault(
            "the loss is the mean over batches", 'so_far["losses"] + run.loss * len(yb)', 'so_far["losses"] + run.loss'
        ),
        Fault(
            "modes are those of the outermost module",
            "module.training = _held[module].pop()",
            "module.training = _held[model][-1] if _held[module].pop() is None else _held.get(model, [True])[-1]",
        ),
        Fault(
            "Ctrl-C stays ours",
            "    try:\n        yield\n    finally:\n        signal.signal(signal.SIGINT, usual)",
            "    yield",
        ),
        Fault(
            "a second Ctrl-C asks too",
            "        signal.signal(signal.SIGINT, usual)\n        run.asked",
            "        run.asked",
        ),
        Fault("a stopped epoch goes on", "        if run.history.stopped is not None:\n            break\n", ""),
        Fault(
            "targets of float64 decide the dtype",
            'yb = yb.astype(self.dtype, copy=False) if yb.dtype.kind == "f" else yb',
            "pass",
        ),
        Fault(
            "inputs of float64 decide the dtype",
            "return xb.astype(self.dtype, copy=False)",
            "return xb",
        ),
        Fault(
            "outputs drop a graph late",
            "with in_mode(model, training=False), no_grad():",
            "with in_mode(model, training=False):",
        ),
        Fault("a validation loss that is not finite goes on", 'if not math.isfinite(scores["loss"]):', "if False:"),
        Fault("batches that are not finite are a layer's fault", "    if bad := not_finite(xb):\n", "    if False:\n"),
        Fault(
            "a column of outputs is a choice of a class",
            'y.ndim == 1 and y.dtype.kind in "biu" and outputs.ndim == 2 and outputs.shape[1] > 1',
            'y.ndim == 1 and y.dtype.kind in "biu" and outputs.ndim == 2',
        ),
        Fault(
            "pace counts steps",
            '"samples_per_second": so_far["count"] / seconds',
            '"samples_per_second": run.step / seconds',
        ),
        Fault(
            "callbacks are told of no end after an error",
            "stack.callback(listener.on_train_end, run)\n        yield",
            "pass\n        yield\n        for listener in reversed(list(listeners)):\n            listener.on_train_end(run)",
        ),
    ],
    "weights": [
        Fault(
            "the weights of classes do not divide the mean", "if target.ndim == 1 else None\n", "if False else None\n"
        ),
        Fault(
            "the weight of positives is that of all", "- 1) * target * softplus(-logits)", "- 1) * softplus(-logits)"
        ),
        Fault("weights keep their own dtype", "losses.shape).astype(losses.dtype)", "losses.shape)"),
        Fault("weights keep their size", "self.weights = self.weights / self.weights.mean()", "pass"),
        Fault("classes that are balanced count as their sizes", "np.count_nonzero(sizes) * np.maximum", "np.maximum"),
        Fault("weights of samples replace those of classes", "weights = weights * own", "weights = own"),
        Fault("targets of one output stay a row", "min(self.y, self.y[:, None], key=", "min(self.y, self.y, key="),
        Fault("each row may be compared with each", "self.found |= result.shape[:2] == (self.rows, self.rows)", "pass"),
        Fault(
            "a share for validation has no weights", "self.weights is None else self.weights[where]\n", "True else 0\n"
        ),
    ],
    "plan": [
        Fault(
            "found gradients are updated in place",
            "slot: len(used) == 1 and _only_adds(plan, slot, used[0])",
            "slot: True",
        ),
        Fault(
            "found gradients that are read twice are updated in place",
            "slot: len(used) == 1 and _only_adds(plan, slot, used[0])",
            "slot: bool(used) and _only_adds(plan, slot, used[0])",
        ),
        Fault(
            "what becomes another gradient is updated in place", " and call.output is plan.grads.get(slot.source)", ""
        ),
        Fault(
            "returned gradients are updated in place",
            "            readers[base_of(plan, slot)] = []",
            "            pass",
        ),
        Fault(
            "draws and checks that nothing needs are dropped",
            "return call.function in (assign, set_grad) or find(call.function).effect",
            "return call.function in (assign, set_grad)",
        ),
        Fault(
            "products are elementwise",
            "isinstance(call.function, np.ufunc) and call.function.signature is None",
            "isinstance(call.function, np.ufunc)",
        ),
        Fault(
            "an operand and its transpose are one", "slot in call.inputs and not views and", "slot in call.inputs and"
        ),
        Fault("memory of another layout is taken", "and not views and slot.is_like(call.result)", "and not views"),
        Fault(
            "returned views lie in memory that is used again",
            "        last[base_of(plan, slot)] = len(plan.calls)",
            "        pass",
        ),
        Fault(
            "an output is computed in a target",
            "if self.last.get(a) == k and a not in self.plan.outputs)",
            "if self.last.get(a) == k)",
            "the last use of an output is behind all calls, so that the condition before this one leaves it out as well",
        ),
        Fault(
            "a target is overwritten before it is read",
            "            if not (only_the_target and (at_own_place or (i == limit and call.function is assign))):\n                return False",
            "            pass",
        ),
        Fault(
            "gradients take memory that is used again",
            "pool.new(out.nbytes) if out in kept else pool.take(out.nbytes)",
            "pool.take(out.nbytes)",
        ),
        Fault("the first of two gradients stays", "            written.add(call.inputs[0])", "            pass"),
        Fault(
            "memory that is too small", "bisect_left(self.free, nbytes, key", "bisect_left(self.free, nbytes // 2, key"
        ),
        Fault("a target of another layout", "not value.is_like(target) or not", "value.shape != target.shape or not"),
        Fault(
            "a value stays in memory that is assigned to again",
            "            return False\n        for i in reads[bisect_left(reads, start) :]:",
            "            pass\n        for i in reads[bisect_left(reads, start) :]:",
        ),
        Fault(
            "the mode of errors does not matter",
            "        return earlier.output if told else None",
            "        return earlier.output",
        ),
        Fault("what is read of state stays", "if assigned != then and not all(", "if False and not all("),
        Fault("results are one array", "        if slot in self.kept or not", "        if not"),
        Fault("draws are the same", "if earlier is call or rule.effect or", "if earlier is call or"),
        Fault(
            "0 has no sign",
            "if number == neutral and math.copysign(1, number)",
            "if number == neutral or math.copysign(2, number)",
        ),
        Fault("a product reads one array for two", "        return mine.isdisjoint(others)\n", "        return True\n"),
        Fault(
            "what is positive is folded",
            "if call.function is scatter and _number_in(first) < 0:",
            "if call.function is scatter and _number_in(first):",
        ),
        Fault(
            "a gradient of unequal rows is folded",
            'not in "fd" or not array.size or (array != array.flat[0]).any():',
            'not in "fd" or not array.size:',
        ),
        Fault(
            "another sum is folded",
            '    return call.keywords.get("axis") in (1, -1, (1,), (-1,)) and bool(call.keywords.get("keepdims"))',
            '    return bool(call.keywords.get("keepdims"))',
        ),
        Fault(
            "another product is folded",
            "and products[others[0]][0].output is first:",
            "and True:",
            "no rule takes the product with such a sum from anything else",
        ),
    ],
    "emit": [
        Fault("exponentials are called something else", '"exponentials": "exp"', '"exponents": "exp"'),
        Fault(
            "the text of a program stays for ever",
            "    weakref.finalize(function, linecache.cache.pop, filename, None)",
            "    pass",
        ),
        Fault("programs warn where eager does not", "        if errors not in (ambient, before):", "        if False:"),
        Fault("constants are finite", 'return "np.nan" if a != a else', 'return "np.inf" if a != a else'),
        Fault("a shifted exponential is no probability", '[(r"log_(\\w+?)(_\\d+)?", r"\\1")]', "[]"),
        Fault("-inf is inf", '"np.inf" if a > 0 else "-np.inf"', '"np.inf"'),
        Fault("copies of results lie by rows", '\'order="K")\' if slot.layout else ")"', '")"'),
        Fault("a mask selects as many as it likes", 'if _masks(x, *items) else ""  # as', 'if False else ""  # as'),
        Fault("numbers have one dtype", '("number", repr(a), dtype)', '("number", repr(a))'),
        Fault("limits have one dtype", "slot.shape, slot.strides, slot.dtype)", "slot.shape, slot.strides)"),
        Fault("limits are all alike", '("filled", repr(a), slot.shape', '("filled", slot.shape'),
        Fault(
            "matrices of two dtypes",
            "plain = x.ndim == y.ndim == 2 and x.dtype == y.dtype and",
            "plain = x.ndim == y.ndim == 2 and",
            "np.dot casts its operands as np.matmul does, and gives the same bits",
        ),
        Fault(
            "a product by columns is one by rows",
            "and not is_wide(out.shape)\n    return f\"np.{'dot'",
            "\n    return f\"np.{'dot'",
        ),
        Fault(
            "masks of draws lie by rows",
            "out={out}{'.T' * is_wide(out.shape)})",
            "out={out})",
            "NumPy draws into memory as it lies, whichever way the array has it",
        ),
        Fault(
            "an index that repeats does not add up",
            "f\"np.add.at({out}, ({', '.join(items)},), {x})\"]",
            'f"{_at(out, *items)} = {x}"]',
        ),
        Fault(
            "a gradient that is put back keeps old entries",
            '[f"{out}.fill(0)", f"{out}[{out.rows}, {labels}] = {x.scalar}"]',
            'f"{out}[{out.rows}, {labels}] = {x.scalar}"',
        ),
        Fault(
            "a selection of other dtypes keeps old entries",
            'return [f"{out}[...] = 0", f"np.copyto({out}, {x}, where={mask})"]',
            'return [f"np.copyto({out}, {x}, where={mask})"]',
        ),
        Fault(
            "keywords are dropped",
            "if not is_default(call.function, k, v)}",
            "if not is_default(call.function, k, v) and v}",
        ),
        Fault(
            "a tuple of one is none",
            '("," if isinstance(a, tuple) and len(a) == 1 else "")',
            '""',
            "NumPy takes a number for a tuple of one, wherever a program writes one",
        ),
        Fault("a name of Python is a name", "*keyword.kwlist}", "}"),
        Fault(
            "a limit that is live is frozen",
            "fits = is_number(self.value) and not isinstance(self.value, Slot)",
            "fits = is_number(self.value)",
        ),
        Fault(
            "what is put back keeps old entries",
            '[f"{out}.fill(0)"] * (not covered) + [f"{_at(out, *items)} = {x}"]',
            '[f"{_at(out, *items)} = {x}"]',
        ),
        Fault("an exported generator begins anew", "\\n{name}.bit_generator.state = {_plain(state)!r}", ""),
        Fault(
            "numbers that nothing uses are not read",
            'f"{\', \'.join(targets)} = {reader}()" if targets else f"{reader}()"',
            'f"{\', \'.join(targets)} = {reader}()" if targets else "pass"',
        ),
        Fault(
            "strides of a slice are dropped", 'f"{start}:{stop}" + (f":{step}" if step else "")', 'f"{start}:{stop}"'
        ),
    ],
    "function": [
        Fault("a live number is read once", "if values != before or 0.0 in values.values():", "if before is None:"),
        Fault("a live -0.0 is the 0.0 before", " or 0.0 in values.values():  #", ":  #"),
        Fault(
            "an argument that the step writes to",
            "return any(id(memory_of(a)) in self.changed for a in arrays)",
            "return False",
        ),
        Fault("an argument in a buffer is not copied", "if id(memory_of(a)) in self.own:\n", "if False:\n"),
        Fault(
            "a program leaves modes alone",
            "            module.training = training\n        for version",
            "            pass\n        for version",
        ),
        Fault(
            "gradients of a program have no version",
            "self.versions = [t._version for t in (*self.record.changed, *(g for _, g in self.grads if g is not None))]",
            "self.versions = [t._version for t in self.record.changed]",
        ),
        Fault(
            "an exchanged gradient counts as found",
            "own = any(t is other and g is t._grad for other, g in self.grads)",
            "own = True",
        ),
        Fault("names of keywords do not matter", "        self.key.extend(kwargs)\n", ""),
        Fault(
            "no_grad does not matter",
            "(mode.grad_enabled, *given.key)",
            "(*given.key,)",
        ),
        Fault(
            "an option stays changed",
            "    fill(zip(held[:half], held[half:], strict=True) if isinstance(container, dict) else held)",
            "    pass",
        ),
        Fault(
            "-0.0 is 0.0", "repr(a) if isinstance(a, (float, complex, np.generic)) else a))  # tells", "a))  # tells"
        ),
        Fault("True is 1", "self.key.append((kind, repr(a)", "self.key.append((repr(a)"),
        Fault("strides do not matter", "key.append((a.shape, a.strides, a.dtype))", "key.append((a.shape, a.dtype))"),
        Fault("keys of a dict do not matter", "(kind, *(a if isinstance(a, dict) else [len(a)]))", "(kind, len(a))"),
        Fault(
            "a list is a tuple",
            "(kind, *(a if isinstance(a, dict) else [len(a)]))",
            "(*(a if isinstance(a, dict) else [len(a)]),)",
        ),
        Fault("a replaced part is not noticed", 'return f"{text} is {name}" if simple', 'return "True" if simple'),
        Fault("an attribute that hides that of the class", 'tests.append(f"{name!r} not in {held}")', "pass"),
        Fault(
            "attributes of one of several modules are not looked at",
            "fields = _Fields(alike)",
            "fields = _Fields([])",
        ),
        Fault(
            "another class of a module is not noticed",
            'if name in ("__class__", "__dict__"):',
            'if name == "__dict__":',
        ),
        Fault("another dict of a module is not noticed", "return same_dicts and all(", "return all("),
        Fault(
            "what is not read of a module is a guard",
            'was[name] = value if name == "training" or name not in was else ANYTHING',
            "return False",
        ),
        Fault("another list of parameters is not noticed", '(id(g), id(g["params"]), *map', "(id(g), *map"),
        Fault("an object of another class", 'tests.append("o.__class__ is v1")', 'tests.append("True")'),
        Fault("other code is not noticed", 'for name in ("__code__", "__defaults__",', 'for name in ("__defaults__",'),
        Fault("another property is not noticed", "if isinstance(value, property):", "if False:"),
        Fault("a method of a base is not noticed", "if name in kind.__dict__:\n", "if False:\n"),
        Fault("what is done for a log is a change", 'if name == "logging":', "if False:"),
        Fault(
            "what C types hold is not seen",
            "        if is_opaque(value):\n            self._reach_opaque",
            "        if False:\n            self._reach_opaque",
        ),
        Fault(
            "a text is no name of an attribute", "for chain in names_in(text) if chain}", "for chain in () if chain}"
        ),
        Fault(
            "what a getter reads is not seen",
            "self.names += [names for names in names_in(value)",
            "self.names += [names for names in ()",
        ),
        Fault(
            "an array is iterated over unseen",
            'if op in ("GET_ITER", "UNPACK_SEQUENCE", "UNPACK_EX"):',
            'if op == "UNPACK_EX":',
        ),
        Fault("a pattern reads unseen", 'if op == "MATCH_CLASS":', "if False:"),
        Fault(
            "a program stays in the memory that the others have left",
            "        moved(self.names, old, new)\n",
            "",
        ),
        Fault("a program takes the guards of any other", "if p.reads.decides_as(self.reads)", "if True"),
        Fault("records stay as they are", "            other.pack()\n", "            pass\n"),
        Fault(
            "a record holds the arguments of its call",
            "            recorder.reads.release((*args, *kwargs.values()))\n",
            "",
        ),
        Fault("what a weak reference refers to is not seen", "if isinstance(value, weakref.ref):", "if False:"),
        Fault(
            "the environment is not looked into", "and module not in SEEN and top not in DATA", "and module not in SEEN"
        ),
        Fault(
            "an item more is not noticed",
            "return len(now) == len(was) and (all",
            "return len(now) >= len(was) and (all",
        ),
        Fault("what a call gives is not looked into", "path[i:] for path in paths", "() for path in paths"),
        Fault(
            "what a loop stores is not known at its beginning",
            "for _ in range(2):  # what",
            "for _ in range(1):  # what",
        ),
        Fault(
            "closures do not matter",
            "value = self.note(owner, way, name, name, only_written, True)",
            'value = self.note(owner, way, name, name, only_written, True) if way == "global" else owner.cell_contents',
        ),
        Fault(
            "globals do not matter",
            "value = self.note(owner, way, name, name, only_written, True)",
            'value = self.note(owner, way, name, name, only_written, True) if way == "cell" else owner.get(name, MISSING)',
        ),
        Fault(
            "keywords of a partial do not matter", '            self._reach(function.keywords, "a keyword", True)\n', ""
        ),
        Fault(
            "the owner of a method does not matter",
            'for value in (getattr(function, "__self__", function), *arguments):',
            "for value in (function, *arguments):",
        ),
        Fault(
            "results lie by rows",
            'wrap(t._data.copy(order="K")) if isinstance(t, Tensor) else t for t in leaves]',
            "wrap(t._data.copy()) if isinstance(t, Tensor) else t for t in leaves]",
        ),
        Fault("a check compares values", "if _bits(a) != _bits(b) and", "if not (a == b).all() and"),
        Fault("what a packed record refers to is mixed up", "return self.kept[place]", "return self.kept[0]"),
        Fault("a program that is refuted stays", "        self._drop(compiled)\n        message", "        message"),
        Fault("what eager gives is lost where a program is refuted", "        changes.restore(before)\n", ""),
        Fault("a refusal can be swallowed", "if recorder.refused is not None and self.strict:", "if False:"),
        Fault(
            "a step may change what is its own",
            "self.changing = changing\n        if first",
            "self.changing = None\n        if first",
        ),
        Fault("old programs stay", "while len(sizes) > PROGRAMS or", "while"),
        Fault(
            "memory for a larger batch is not taken",
            "        if n <= len(old):",
            "        if len(old):",
        ),
        Fault(
            "each result of a dataclass is a dict",
            "Fields(type(r), flatten_result(fields(r), leaves))",
            "flatten_result(fields(r), leaves)",
        ),
        Fault(
            "a named tuple is a tuple",
            'return type(a)(*parts) if hasattr(a, "_fields") else type(a)(parts)',
            "return tuple(parts) if isinstance(a, tuple) else list(parts)",
        ),
        Fault(
            "a later run does not count",
            "max(every, key=lambda compiled: compiled.runs)",
            "min(every, key=lambda compiled: compiled.runs)",
        ),
    ],
    "record": [
        Fault(
            "a draw over a constant is one",
            'if type(a) is Slot} == {"frozen"} and not rule.effect:',
            'if type(a) is Slot} == {"frozen"}:',
        ),
        Fault("data read through detach is no guard", "mode.tracer.detaches(self)", "pass"),
        Fault(
            "memory of two layouts is alike",
            "return (self.shape, self.dtype, self.strides) == (other.shape, other.dtype, other.strides)",
            "return (self.shape, self.dtype) == (other.shape, other.dtype)",
        ),
        Fault(
            "lr ** 2 of a live number is frozen",
            "        if method not in _COMPARISONS:\n",
            "        if False:\n",
        ),
        Fault(
            "a float is frozen where its value is used",
            "        self._use(name)\n",
            "",
        ),
        Fault(
            "modes stay after a recording that failed",
            'self.undo.append(lambda: setattr(module, "training", before))',
            "pass",
        ),
        Fault("the first change is undone last", "for restore in reversed(self.undo):", "for restore in self.undo:"),
        Fault(
            "a walk back may take another way",
            "return walk if walk and way and walk.way and is_same(walk.way, way) else None",
            "return walk if walk and way and walk.way else None",
        ),
        Fault(
            "rules of the user's are not seen again",
            "return not any(map(is_of_the_user, filter(None, functions)))",
            "return True",
        ),
        Fault("hooks are not seen again", " or t._hooks or any(a._hooks for _, a in node.parents):", ":"),
        Fault(
            "rules take live numbers for arrays",
            "        if any(type(a) is Live for a in (*node.arrays, *node.keywords.values())):\n            return None\n",
            "",
        ),
        Fault(
            "a walk on arrays is as long as none",
            "self.expected = islice(self.expected, self.walk.length, None)",
            "pass",
        ),
        Fault(
            "states of parameters without one do not matter",
            "        name in optimizer.state.get(p, ())\n",
            "        True\n",
        ),
        Fault(
            "a generator goes on after a failure",
            'self.undo.append(lambda: setattr(rng.bit_generator, "state", state))',
            "pass",
        ),
        Fault("a gradient stays after a failure", 'self.undo.append(lambda: setattr(t, "_grad", found))', "pass"),
        Fault(
            "an optimizer stays after a failure",
            "self.undo.append(functools.partial(updates.put_back, optimizer, state, kept))",
            "pass",
        ),
        Fault(
            "the layout of a found gradient does not matter",
            "None if owner._grad is None else _layout(owner._grad._data)",
            "owner._grad is None",
        ),
        Fault("-0.0 of a module is 0.0", "return repr(now) == repr(was)", "return bool(now == was)"),
        Fault(
            "frozen parameters stay frozen",
            '"tensor": lambda owner, name: (owner._data, owner._requires_grad, owner._hooks),',
            '"tensor": lambda owner, name: (owner._data, True, owner._hooks),',
        ),
        Fault(
            "another value of the step passes for the same", "a.kind != b.kind or a.array is None:", "a.kind != b.kind:"
        ),
        Fault(
            "a gradient that is a view is not copied",
            "and id(memory_of(value._data)) in self.lent",
            'and slot.kind in ("input", "grad")',
        ),
    ],
    "optimize": [
        Fault("an array with one element is none", 'getattr(y, "ndim", 0) and y.size == 1 else y', "False else y"),
        Fault("the exported Jacobian stands wrong", '"SIZE": size, "AXIS": axis}', '"SIZE": size, "AXIS": 0}'),
        Fault("curve_fit sees no parameters", "@functools.wraps(f)  # curve_fit", "#"),
    ],
    "custom": [
        Fault("None needs no samples", "None if i in floats else functools.partial(refuse, i)", "None"),
        Fault("constants need samples", "if rule and i not in floats]", "if i not in floats]"),
        Fault("several results are stacked", "several = isinstance(result, list) and", "several = False and"),
        Fault(
            "a result is the workspace of a function",
            "array = np.array(None if several or",
            "array = np.asarray(None if several or",
        ),
        Fault("a wrong rule stays", "            table.RULES[op] = before\n            raise", "            raise"),
        Fault("the second order is not checked", "values, order=order, rtol=rtol,", "values, rtol=rtol,"),
    ],
    "transforms": [
        Fault(
            "constants of a tree stay in gradients",
            "lambda t: t if isinstance(t, Tensor) else None, chosen",
            "lambda t: t, chosen",
        ),
        Fault("True is a position", 'hasattr(i, "__index__") and not isinstance(i, bool)', 'hasattr(i, "__index__")'),
        Fault("what a pullback needs is given away", "t._data.copy() if self.kept else t._data", "t._data"),
        Fault("forward mode gives a direction back", "own: Any = np.copy(d) if shared else d", "own: Any = d"),
        Fault(
            "no gradient flows to tangents", "self._replace(open=self.open or moves,", "self._replace(open=self.open,"
        ),
        Fault(
            "inputs of inner transforms count as the user's", "                around |= own", "                pass"
        ),
        Fault("constants move in forward mode", "at.get(i, _still(a) if _moves", "at.get(i, a if _moves"),
        Fault(
            "an op that was changed in between moves as it was",
            "        check_unchanged(self.order)\n        moved = ",
            "        moved = ",
        ),
    ],
    "sampled": [
        Fault(
            "interpolation ends at the last value on both sides",
            "np.where(below, fp[0] if left is None",
            "np.where(below, fp[-1] if left is None",
        ),
        Fault("parabolas are symmetric", "+ (b - a) / (a * b) * f[1:-1]", "+ 0 * f[1:-1]"),
        Fault(
            "a partition is a sort", "np.argsort(np.partition(x, kth, axis), axis", "np.argsort(np.sort(x, axis), axis"
        ),
    ],
    "matrices": [
        Fault("a function of matrices is not transposed", "g, out, x: along(_t(x), g))", "g, out, x: along(x, g))"),
        Fault("a singular matrix has a logarithm", "if not np.linalg.slogdet(x)[0].all():", "if False:"),
        Fault("a unit diagonal has a gradient", "np.tril(outer, -int(unit_diagonal))", "np.tril(outer)"),
        Fault("a solution is not transposed back", 'int(trans in (0, "N"))', "int(trans)"),
    ],
    "loops": [
        Fault(
            "the reverse takes the state after a step",
            "np.concatenate([first.reshape((1, states)), out[:-1, :states]])",
            "out[:, :states]",
        ),
        Fault(
            "gradients of a loop's inputs are in reverse",
            "np.flip(back[:, states + constants :], 0)",
            "back[:, states + constants :]",
        ),
        Fault("the last step alone counts for what all share", "gradients[states:] + of_held", "of_held"),
        Fault(
            "tracers see the ops inside of an op",
            "mode.grad_enabled, mode.tracer = False, tracer",
            "mode.grad_enabled = False",
        ),
        Fault(
            "float64 is packed in float32",
            "place is None or place[1] == np.float32",
            'place is None or place[1].kind == "f"',
        ),
        Fault(
            "a loop freezes what a program computes around it",
            'return slot is not None and slot.kind not in ("state", "frozen", "constant")',
            "return False",
        ),
        Fault("functions of the same code are one", "all(map(_alike, ours, theirs))", "True"),
        Fault(
            "a function that is made anew is another",
            "known = next((other for other in made if _alike(f, other)), f)",
            "known = f",
        ),
        Fault(
            "what draws is drawn anew",
            "if isinstance(t, np.random.Generator):\n                raise GraphError(",
            "if False:\n                raise GraphError(",
        ),
        Fault(
            "an argument hides what comes from around",
            "wrap(a._data.view()) if isinstance(a, Tensor)",
            "a.detach() if isinstance(a, Tensor)",
        ),
        Fault(
            "the gradient of times is lost",
            "if any(isinstance(a, Tensor) and a._requires_grad for a in leaves(t)):",
            "if False:",
        ),
        Fault("whole numbers do not move", "np.asarray(a) if isinstance(a, (int, np.integer, np.bool_)) else a", "a"),
        Fault("a dict of a kind of its own is a plain one", "new: Any = tree.copy()  #", "new: Any = dict(tree)  #"),
        Fault(
            "other keys are the same tree",
            "theirs is None or theirs.keys() != held.keys()",
            "theirs is None or len(theirs) != len(held)",
        ),
    ],
    "scipy": [
        Fault("a wide Jacobian is the transpose", "if n <= m else (PULL, 0)", "if n <= m else (PULL, 1)"),
        Fault(
            "the multipliers of constraints do not count",
            "np.sum(at(x) * v) if v.size else at(x)",
            "np.sum(at(x)) if v.size else at(x)",
        ),
    ],
    "solvers": [
        Fault("an implicit derivative is not transposed", "np.linalg.solve(by_x.T, g)", "np.linalg.solve(by_x, g)"),
        Fault(
            "the last step passes the end",
            "h = end - t if abs(h) > abs(end - t) or abs(end - t - h) < 1e-12 * abs(h) else h",
            "h = end - t if abs(end - t - h) < 1e-12 * abs(h) else h",
        ),
        Fault(
            "all steps between two times start at the first",
            "a + np.arange(steps) * h / steps for a, h",
            "np.full(steps, a) for a, h",
        ),
    ],
    "special": [
        Fault(
            "a slope is differentiated as if the factor a were constant",
            "for k, p in enumerate((a, n)))",
            "for k, p in enumerate((a, 0)))",
        ),
        Fault(
            "the rest of an integral has the wrong sign",
            "    integral = _integral(density, low, high)",
            "    integral = _integral(density, low, high) * np.where(below, 1.0, -1.0)",
        ),
        Fault(
            "where a density changes how it falls is not looked at closely",
            "_BREAKS = (-36.0, -6.0, 6.0, 36.0)",
            "_BREAKS = (36.0,)",
        ),
        Fault(
            "a rise of digammas is a difference that cancels", "np.where(positive, -((-1) ** n)", "np.where(False, 0"
        ),
        Fault("a derivative of erfcx cancels", "np.where(x < 1.5, y, product)", "np.where(x < 1e300, y, product)"),
        Fault(
            "left of 0, a density is divided by what cancels",
            "np.where(x < 0, _ROOT_TWO_OVER_PI / special.erfcx(-_ROOT_HALF * left), density)",
            "np.exp(-0.5 * (x * x) - out) / _ROOT_TWO_PI",
        ),
        Fault("where both are 0, xlogy has no slope", "np.where((x == 0) & (y == 0), 0.0, x / y)", "x / y"),
        Fault("the end of expit is flat", "g * (out * special.expit(-x))", "g * (out * (1 - out))"),
    ],
    "deploy": [
        Fault("two rows are written down as two", "if type(a) is int and a != b and 3 * a == 2 * b:", "if False:"),
        Fault(
            "a model is exported as it trains",
            "in_mode(function, training=False) if isinstance",
            "in_mode(function, training=True) if isinstance",
        ),
        Fault(
            "a constant of two rows stands for any number",
            'np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance',
            "a.shape == b.shape if isinstance",
        ),
        Fault("an exported softmax overflows", "e = np.exp(x - x.max(axis=axis, keepdims=True))", "e = np.exp(x)"),
    ],
    "distributed": [
        Fault(
            "a process of fewer rows weighs as much",
            "self.share[0] = len(own) / sum(map(len, parts))",
            "self.share[0] = 1 / self.comm.size",
        ),
        Fault(
            "each process begins with weights of its own",
            "            comm.Bcast(first)\n            p.data[...] = first",
            "            comm.Bcast(first)",
        ),
        Fault("every parameter takes the gradients of the first", "mean[end - p.size : end]", "mean[: p.size]"),
    ],
    "sklearn": [
        Fault("the decay is not that of the mean", '"weight_decay": self.alpha / rows}', '"weight_decay": self.alpha}'),
        Fault(
            "biases decay in lbfgs",
            "[self.alpha / total * (p.ndim == 2) for p in params]",
            "[self.alpha / total for p in params]",
        ),
        Fault("the last epoch is kept, not the best", "self.estimator.model_.load_state_dict(self.best)", "pass"),
    ],
    "search": [
        Fault(
            "an optimizer stays at the highest rate",
            "        optimizer.load_state_dict(state)\n    return found",
            "    return found",
        ),
        Fault("the first losses are averaged with 0", "/ (1 - SMOOTHING ** (len(self.lr)))", ""),
        Fault("the search goes on where the loss grows", "if self.loss[-1] > DIVERGED * min(self.loss):", "if False:"),
    ],
    "native": [
        Fault(
            "machine code with a wrong byte is run", "if hashlib.sha256(kept[32:]).digest() == kept[:32]:", "if True:"
        ),
        Fault(
            "machine code that cannot be kept ends it",
            "with suppress(OSError):\n            file",
            "with suppress():\n            file",
        ),
        Fault("machine code of another text is taken", "[source, Path(library", "[Path(library"),
        Fault("labels are not checked to be classes", "and checked.issuperset(labels)", "and True"),
        Fault(
            "rows that overlap are given to BLAS",
            "len(a.shape) == 2 and order(a) and a.dtype in FLOATS",
            "len(a.shape) == 2 and a.dtype in FLOATS",
        ),
        Fault(
            "a native maximum loses NaN",
            '"({0} if {0} > {1} or {0} != {0} else {1})"',
            '"({0} if {0} > {1} else {1})"',
        ),
        Fault(
            "a native maximum of 0 and -0 is the first",
            '"({0} if {0} > {1} or',
            '"({0} if {0} >= {1} or',
        ),
        Fault("a native sign of NaN is 0", '"({0} if {0} != {0} else', '"({0} if False else'),
        Fault(
            "one label more counts for each row",
            '"({0} * {2} - ({2} if j == {1} else {t}(0)))"',
            '"({0} * {2} - ({2} if j <= {1} else {t}(0)))"',
        ),
        Fault(
            "an update comes before others have read",
            "first = max(first, use.group + (not own))",
            "first = max(first, use.group)",
        ),
        Fault(
            "pieces of a long program are one", '(group.kind == "numpy", size // PIECE)', '(group.kind == "numpy", 0)'
        ),
        Fault(
            "what a label picks is taken before the row is done",
            'use.stage + (index == "picked")',
            "use.stage",
        ),
        Fault(
            "a native exponential ends at 80",
            "np.int32, (89, -104)",
            "np.int32, (80, -104)",
        ),
        Fault(
            "a native exponential of NaN is a number",
            "return x if x != x else p * power * other",
            "return p * power * other",
        ),
        Fault("an update goes uphill", "1 if total.function is np.add else -1", "1"),
        Fault(
            "weights are copied for one thread, too",
            "return nbytes in READ_BY_ALL and _threads() > 1",
            "return nbytes in READ_BY_ALL",
        ),
        Fault(
            "a product that BLAS cannot take is an update",
            "if is_product(update):  # NumPy",
            "if True:  # NumPy",
        ),
        Fault("a program comes at once to memory that it writes to", 'not in touched")', 'not in ()")'),
        Fault(
            "a product that others want is taken into an update",
            "new.array in made and uses[new.array] == 1",
            "new.array in made",
        ),
        Fault(
            "memory is used again while it is needed",
            "dying[last.get(out, i)].append(storage)",
            "dying[i].append(storage)",
        ),
        Fault(
            "the largest of negative numbers is 0",
            '_emit_reduction("np.maximum"), start="-np.inf")',
            '_emit_reduction("np.maximum"), start="0")',
        ),
        Fault(
            "float32 is summed in float32",
            "many = call.inputs[0].nbytes >= MANY",
            "many = False and call.inputs[0].nbytes >= MANY",
        ),
        Fault(
            "a result by columns is written in rows",
            'turned = order(out) == "F"',
            "turned = False",
        ),
    ],
    "playground": [
        Fault("any port is taken", "if not 0 <= options.port <= 65535:", "if False:"),
        Fault(
            "a port in use ends in a traceback", "if error.errno not in (errno.EADDRINUSE, errno.EACCES):", "if True:"
        ),
        Fault("the right piece is planted", "return Pieces(**{bug: BUGS[bug]})", "return Pieces()"),
        Fault("a drawing is not put at the centre", "SIDE / 2 - scale * centre", "0 * centre"),
        Fault("the gradient is that of the first score", "tg.grad(x[0, digit], pixels)", "tg.grad(x[0, 0], pixels)"),
        Fault("the surface stands on its head", "np.meshgrid(line, line[::-1])", "np.meshgrid(line, line)"),
        Fault(
            "a bug changes the weights at once",
            "self.bug, self.has_run = bug, False",
            "self.bug, self.has_run = bug, True",
        ),
        Fault("pages of others are answered", 'or self.request.headers.get("Origin") not in origins', ""),
        Fault("other names for this machine are answered", "if self.request.host not in hosts or", "if"),
        Fault("any number of pages is served", "if len(self.open_pages) >= PAGES:", "if False:"),
        Fault("drawings are of any length", "if sum(map(len, value)) > POINTS:", "if False:"),
        Fault("numbers have no bounds", "or not low <= value <= high:", "or False:"),
        Fault("NaN is sent as no JSON", "numbers if finite.all() else", "numbers if True else"),
    ],
}
"""The faults, by the part of the package that they are in."""
