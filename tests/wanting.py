"""What is not tested for want of something that the machine has not."""

import os
from typing import NoReturn

import pytest

MARK = "NOT TESTED: "


def skip_without(what: str) -> NoReturn:
    """Skip the test for want of this, which the end of the run tells; fail it on CI, where nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must test this: {what}")
    pytest.skip(f"{MARK}{what}")
