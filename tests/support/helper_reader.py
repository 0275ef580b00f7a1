"""The helper process of `helper_process`, allowed to read files."""

from __future__ import annotations

from antiphon.isolation.child import run_helper
from tests.support.helper_process import serve

if __name__ == "__main__":
    run_helper(serve, reads_files=True)
