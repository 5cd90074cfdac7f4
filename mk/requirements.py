"""Prints what pyproject.toml wants installed to build, run and test the project, one requirement a line."""

import sys
import tomllib
from pathlib import Path

config = tomllib.loads(Path(sys.argv[1]).read_text())
project = config["project"]
print(*config["build-system"]["requires"], *project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")
