"""Compiled kernels; their public face is `femto.kernels`."""

try:
    import femto._kernels.core as core
except ImportError as error:
    raise ImportError(
        "femto's compiled kernels are not built here. In a source folder, build them in place with `pip install -e .`, or run "
        "from another folder so that Python finds the installed femto."
    ) from error

__all__ = ["core"]
