"""What the result of an op is called in a program that a person reads; of one that is not here, as the function."""

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
    "multiply": [(r"(.*), \1", "squares"), (".*#.*", "scaled")],
}
_BY_NAME = {name: word for word, names in _HOLDS.items() for name in names.split()}
for _rule in RULES.values():
    _rule.holds, _rule.called = _BY_NAME.get(_rule.name, ""), _CALLED.get(_rule.name, ())
