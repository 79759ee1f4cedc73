"""Builds stand-ins for the CUDA libraries, to import a CUDA build of torch without their 5 GB.

    python cuda_stub.py SITE_PACKAGES

The loader requires every library and every symbol that torch's own libraries name. So this builds
each missing library from those names alone; every function in it reports that there is no GPU.
Nothing in torch is changed, and a torch that needs no CUDA library (a CPU build) is left as it is.
It needs gcc and readelf.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

NO_DEVICE = 100  # cudaErrorNoDevice
CUDA_LIBRARY = re.compile(r"lib(cu|nv|nccl)")
CUDA_FUNCTION = re.compile(r"(cu[A-Z]|cuFile|cusparseLt|nccl|nvshmem)")


def readelf(library: Path, *options: str) -> str:
    """Returns readelf's output about a library."""
    command = ["readelf", "--wide", *options, str(library)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needs(library: Path) -> list[str]:
    """Returns the file names of the libraries that this one loads."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", readelf(library, "--dynamic"))


def version_owners(library: Path) -> dict[str, str]:
    """Returns the library that must define each symbol version: version -> file name."""
    owners, owner = {}, ""
    for line in readelf(library, "--version-info").splitlines():
        if found := re.search(r"File: (\S+)", line):
            owner = found[1]
        elif (found := re.search(r"Name: (\S+)", line)) and owner:
            owners[found[1]] = owner
    return owners


def imported_symbols(library: Path) -> list[tuple[str, str]]:
    """Returns the symbols that this library expects from others, as (name, version or '')."""
    return re.findall(r" UND ([^\s@]+)(?:@(\S+))?", readelf(library, "--dyn-syms"))


def missing_libraries(folder: Path) -> dict[str, dict[str, set[str]]]:
    """Returns the absent CUDA libraries: file name -> version ('' for none) -> symbols to define."""
    present = sorted(folder.glob("*.so"))
    missing = {
        name: defaultdict(set)
        for library in present
        for name in needs(library)
        if CUDA_LIBRARY.match(name) and not (folder / name).exists()
    }
    unversioned = set()
    for library in present:
        owners = version_owners(library)
        for symbol, version in imported_symbols(library):
            if version and owners.get(version) in missing:
                missing[owners[version]][version].add(symbol)
            elif not version and CUDA_FUNCTION.match(symbol):
                unversioned.add(symbol)
    # An unversioned symbol names no library; the loader takes the first library that defines it.
    for versions in missing.values():
        if not versions:
            versions[""] = unversioned
    return missing


def function(symbol: str) -> str:
    """Returns the C source of one stand-in."""
    if symbol.startswith("_"):  # called by constructors while the library loads: must succeed
        return f"long {symbol}(void) {{ return 0; }}"
    if re.search(r"Get(Last)?(Error)?(String|Name)$", symbol):
        return f'const char *{symbol}(void) {{ return "no GPU: this is a stand-in library"; }}'
    return f"long {symbol}(void) {{ return {NO_DEVICE}; }}"


def build(library: Path, versions: dict[str, set[str]]) -> None:
    """Compiles the stand-in of one library."""
    # A name that is needed in several versions would need an alias for each. torch has none so far,
    # and gcc would report it.
    source = "\n".join(function(symbol) for symbols in versions.values() for symbol in sorted(symbols))
    script = "".join(f"{version} {{ {'; '.join(sorted(symbols))}; }};\n" for version, symbols in versions.items() if version)
    command = ["gcc", "-w", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{library.name}"]
    with tempfile.NamedTemporaryFile("w", suffix=".map") as file:
        if script:
            file.write(script)
            file.flush()
            command.append(f"-Wl,--version-script={file.name}")
        subprocess.run([*command, "-x", "c", "-", "-o", str(library)], check=True, input=source, text=True)


def main() -> None:
    folder = Path(sys.argv[1]) / "torch" / "lib"
    if not folder.is_dir():
        sys.exit(f"cuda_stub.py: there is no torch in {sys.argv[1]}: install it first")
    for name, versions in missing_libraries(folder).items():
        build(folder / name, versions)
        print(f"{name}: {sum(map(len, versions.values()))} functions")


if __name__ == "__main__":
    main()
