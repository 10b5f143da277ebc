"""Compiled kernels; their public face is `femto.kernels`."""
