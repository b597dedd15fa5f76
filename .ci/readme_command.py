"""Print one of the README's commands, so that CI runs what a reader runs: `python .ci/readme_command.py tests`."""

import re
import sys
from pathlib import Path

text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
commands = {"mnist": "examples/mnist.py", "tests": "pytest"}
blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
print(next(block for block in blocks if commands[sys.argv[1]] in block))
