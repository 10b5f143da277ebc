"""Builds the compiled kernels; everything else is declared in pyproject.toml.

One build serves every machine of a platform: kernels are compiled for each instruction set through target attributes in the
sources, never through flags that depend on the building machine. FEMTO_NO_OPENMP=1 builds without threads.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = Path("femto/_kernels")
# Contraction is off so that a multiply-add is fused exactly where the source says; gnu11, because c11 changes that.
COMPILE_FLAGS = ["-O3", "-std=gnu11", "-fno-math-errno", "-ffp-contract=off", "-Wno-psabi", "-Wno-unknown-pragmas"]


def openmp_flags(compiler: list[str]) -> tuple[list[str], list[str]]:
    """Compile and link flags for OpenMP that this compiler accepts; none when it has no OpenMP."""
    if os.environ.get("FEMTO_NO_OPENMP"):
        return [], []
    candidates = [(["-fopenmp"], ["-fopenmp"])]
    if sys.platform == "darwin":
        candidates.append((["-Xpreprocessor", "-fopenmp"], ["-lomp"]))
        for prefix in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"):
            candidates.append((["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"], [f"-L{prefix}/lib", "-lomp"]))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n", encoding="ascii")
        for compile_flags, link_flags in candidates:
            command = [*compiler, *compile_flags, str(source), "-o", str(Path(folder, "probe")), *link_flags]
            try:
                if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                    return compile_flags, link_flags
            except OSError:
                break
    print("femto: this compiler has no OpenMP, so kernels will run on one thread", file=sys.stderr)
    return [], []


class BuildKernels(build_ext):
    def build_extensions(self) -> None:
        compile_flags, link_flags = openmp_flags(list(getattr(self.compiler, "compiler", ["cc"])))
        for extension in self.extensions:
            extension.extra_compile_args += [*COMPILE_FLAGS, *compile_flags]
            extension.extra_link_args += link_flags
        one_by_one = self.compiler.compile

        def side_by_side(sources: list[str], *arguments: Any, **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: one_by_one([source], *arguments, **options), sources)
                return [path for paths in objects for path in paths]

        self.compiler.compile = side_by_side
        super().build_extensions()


core = Extension(
    "femto._kernels.core",
    [str(KERNELS / "core.pyx"), *sorted(str(path) for path in (KERNELS / "c").glob("*.c"))],
    include_dirs=[str(KERNELS / "c")],
    depends=sorted(str(path) for pattern in ("c/*.h", "*.pxi", "*.pxd") for path in KERNELS.glob(pattern)),
)
setup(ext_modules=cythonize([core]), cmdclass={"build_ext": BuildKernels})
