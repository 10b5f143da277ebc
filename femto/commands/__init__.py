"""The command line. Every module of this folder is one command, and is found here by itself; `shared` has what they share.

A command parses, calls the library and prints. Errors are one line on standard error. See `shared/command_line.py`.
"""

import importlib
import pkgutil

from femto.commands.shared.command_line import main

for _module in sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["main"]
