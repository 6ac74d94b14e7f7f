"""Builds the targets as ClusterFuzzLite does, and runs each for a moment, without its image.

    python fuzz/clusterfuzzlite_dry_run.py [--runs N] [TARGET...]

.clusterfuzzlite/build.sh gets the variables that the image sets, in a scratch folder. A stand-in of
compile_python_fuzzer writes a script where the real one bundles the interpreter. It understands the
options that build.sh gives. Each target then runs with its seeds and its dictionary, as
ClusterFuzzLite runs it. The exit code is 1 if something could not be built or has a finding, and 69
without the fuzzer.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The real one: https://github.com/google/oss-fuzz, infra/base-images/base-builder-python.
COMPILER = r"""#!/bin/bash -eu
entry=$1
shift
paths=()
while [ $# -gt 0 ]; do
  case $1 in
    --paths) paths+=("$2"); shift 2 ;;
    --collect-all) shift 2 ;;
    *) echo "unknown option: $1" >&2; exit 1 ;;
  esac
done
name=$(basename "$entry" .py)
cp "$entry" "$OUT/$name.py"
cat >"$OUT/$name" <<SCRIPT
#!/bin/sh
# LLVMFuzzerTestOneInput
PYTHONPATH=$(IFS=:; echo "${paths[*]}")\${PYTHONPATH:+:\$PYTHONPATH}
export PYTHONPATH
exec python3 "$OUT/$name.py" "\$@"
SCRIPT
chmod +x "$OUT/$name"
"""
_PATIENCE = 600


def prepare(scratch: Path) -> dict[str, str]:
    """Makes the folders of the image, and returns its variables."""
    folders = {name: scratch / name.lower() for name in ("SRC", "OUT", "WORK")}
    tools = scratch / "bin"
    for folder in (*folders.values(), tools):
        folder.mkdir()
    (folders["SRC"] / "mailbell").symlink_to(ROOT)
    # A link to the interpreter of an environment would be another interpreter.
    interpreter = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    for name, text in (("compile_python_fuzzer", COMPILER), ("python3", interpreter)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return {
        **os.environ,
        **{name: str(folder) for name, folder in folders.items()},
        "PATH": f"{tools}:{os.environ['PATH']}",
        "LIB_FUZZING_ENGINE": "-fsanitize=fuzzer",
        "FUZZING_ENGINE": "libfuzzer",
        "FUZZING_LANGUAGE": "python",
        "SANITIZER": "address",
        "ARCHITECTURE": "x86_64",
    }


def run(name: str, runs: int, environ: dict[str, str]) -> bool:
    """Runs a target that was built; returns whether it has no finding."""
    out, work = Path(environ["OUT"]), Path(environ["WORK"])
    corpus = work / "corpus" / name
    with zipfile.ZipFile(out / f"{name}_seed_corpus.zip") as seeds:
        seeds.extractall(corpus)
    words = f"-dict={out / name}.dict"
    command = [str(out / name), f"-runs={runs}", words, f"-artifact_prefix={work}/", str(corpus)]
    done = subprocess.run(  # noqa: S603  what was built here
        command, check=False, capture_output=True, text=True, errors="replace", env=environ,
        timeout=_PATIENCE,
    )  # fmt: skip
    print(f"{name}: {'right' if not done.returncode else 'WRONG'}", flush=True)
    if done.returncode:
        print(done.stderr[-4000:])
    return not done.returncode


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Builds and runs the targets as ClusterFuzzLite.")
    parser.add_argument("--runs", type=int, default=300, help="executions of each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, if none is named")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is missing; run `make fuzz` once", file=sys.stderr)
        return 69
    with tempfile.TemporaryDirectory() as folder:
        environ = prepare(Path(folder))
        build = [str(ROOT / ".clusterfuzzlite" / "build.sh")]
        subprocess.run(build, check=True, env=environ)  # noqa: S603  the project's own
        built = sorted(path.stem for path in Path(environ["OUT"]).glob("fuzz_*.dict"))
        wanted = [f"fuzz_{target}" for target in options.targets] or built
        wrong = [name for name in wanted if not run(name, options.runs, environ)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
