"""The words of programs: what the result of an op is called, and what a native loop computes for one element of it.

An op that is not here is called as its function, and one without a formula stays a call of NumPy.
"""

from .table import RULES

_HOLDS = {
    "maximum": "max amax", "minimum": "min amin", "total": "sum", "exponentials": "exp", "root": "sqrt",
    "squares": "square", "added": "add", "difference": "subtract", "product": "multiply matmul einsum",
    "quotient": "divide", "negated": "negative", "larger": "maximum", "smaller": "minimum", "selected": "where select",
    "picked": "gather", "scattered": "scatter", "part": "getitem", "placed": "put", "joined": "concatenate",
    "random": "uniform", "size": "absolute", "converted": "astype", "repeated": "spread broadcast_to",
    "inverse": "reciprocal", "logarithms": "log", "T": "transpose swapaxes moveaxis", "reshaped": "reshape",
}  # fmt: skip
_CALLED = {
    "subtract": [(".*, maximum.*", "shifted"), (".*, mean.*", "centred")],
    "exp": [(r"log_(\w+?)(_\d+)?", r"\1")],
    "log": [(r"([^\W\d]\w{0,10})", r"log_\1")],
    "divide": [("total.*, #", "mean"), ("#, .*", "inverse"), (".*#.*", "scaled")],
    "positive": [("#", "number")],
    "multiply": [(r"(.*), \1", "squares"), (".*#.*", "scaled")],
}
# a comparison with NaN is false: those of extremes say where that leads; of 0 and -0, NumPy takes the second
_LOOPS = {
    "{0}": "positive copy astype spread put gather", "{0} * {0}": "square", "-{0}": "negative", "abs({0})": "absolute",
    "{0} + {1}": "add", "{0} - {1}": "subtract", "{0} * {1}": "multiply", "{0} / {1}": "divide",
    "{0} == {1}": "equal", "{0} != {1}": "not_equal", "{0} < {1}": "less", "{0} <= {1}": "less_equal",
    "{0} > {1}": "greater", "{0} >= {1}": "greater_equal", "plus({0}, {1})": "sum", "exp_{c}({0})": "exp",
    "({0} if {0} > {1} or {0} != {0} else {1})": "maximum max",
    "({0} if {0} < {1} or {0} != {0} else {1})": "minimum min",
    "({0} if {0} != {0} else {t}({0} > {t}(0)) - {t}({0} < {t}(0)))": "sign",
    "({1} if {0} else {t}(0))": "select", "({1} if {0} else {2})": "where",
    "({0} if j == {1} else {t}(0))": "scatter", "({0} * {2} - ({2} if j == {1} else {t}(0)))": "minus_one_hot",
    "np.{name}({0})":
        "sqrt exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsin arccos arctan arcsinh arccosh arctanh "
        "cbrt rint floor ceil trunc isnan isinf isfinite fabs reciprocal degrees radians rad2deg deg2rad",
    "np.{name}({0}, {1})": "arctan2 hypot power logaddexp copysign fmax fmin",
}  # fmt: skip


def _by_name(table: dict[str, str]) -> dict[str, str]:
    return {name: word for word, names in table.items() for name in names.split()}


_holds, _loops = _by_name(_HOLDS), _by_name(_LOOPS)
for _rule in RULES.values():
    if _rule.kind != "composite":  # of which a program has the parts
        _rule.holds, _rule.called = _holds.get(_rule.name, ""), _CALLED.get(_rule.name, ())
        _rule.loop = _loops.get(_rule.name, "").replace("{name}", _rule.name)
