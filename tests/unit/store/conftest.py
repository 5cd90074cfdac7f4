"""The modules beside the tests can be imported by them: test folders are not packages."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("backend_suite", "contents", "faults")
