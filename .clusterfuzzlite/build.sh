#!/bin/bash -eu
# Builds each target into $OUT, with its seeds and its dictionary. ClusterFuzzLite calls it in the
# image of the Dockerfile beside; `fuzz/clusterfuzzlite_dry_run.py` calls it without an image.

cd "$SRC/mailbell"
entries=$WORK/entries
mkdir -p "$entries"

for file in fuzz/fuzz_*.py; do
  name=$(basename "$file" .py)
  target=${name#fuzz_}
  # A target imports no fuzzer, so each gets an entry. It names its target in an import, because
  # the bundler follows imports only.
  cat >"$entries/$name.py" <<ENTRY
import sys

import atheris

with atheris.instrument_imports(include=["mailbell"]):
    from fuzz import $name as target

from fuzz.entry import start

start(target, sys.argv[1:])
ENTRY
  compile_python_fuzzer "$entries/$name.py" \
    --paths "$SRC/mailbell" --paths "$SRC/mailbell/tests" --collect-all mailbell
  seeds=$WORK/seeds/$target
  mkdir -p "$seeds"
  for kind in corpus regressions; do
    if [ -d "fuzz/$kind/$target" ]; then
      find "fuzz/$kind/$target" -type f ! -name '.*' -exec cp {} "$seeds/" \;
    fi
  done
  cp "fuzz/dictionaries/$target.dict" "$OUT/$name.dict"
done

# One interpreter for all of them. The base image need not have zip(1).
python3 - "$WORK/seeds" "$OUT" <<'ARCHIVES'
import shutil
import sys
from pathlib import Path

for folder in Path(sys.argv[1]).iterdir():
    shutil.make_archive(f"{sys.argv[2]}/fuzz_{folder.name}_seed_corpus", "zip", folder)
ARCHIVES
