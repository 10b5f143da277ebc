"""The stub file tells type checkers what the compiled module holds."""

import ast
import inspect
from pathlib import Path

from femto._kernels import core


def test_stub_agrees_with_the_compiled_module():
    stub = ast.parse(Path(core.__file__).with_name("core.pyi").read_text("utf-8"))
    functions = [node for node in stub.body if isinstance(node, ast.FunctionDef)]
    declared = {function.name: [argument.arg for argument in function.args.args] for function in functions}
    compiled = {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(core).items()
        if not name.startswith("_") and type(value).__name__ == "cython_function_or_method"
    }
    assert declared == compiled
