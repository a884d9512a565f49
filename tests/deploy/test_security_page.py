"""SECURITY.md names tests, and they are there."""

import re

import pytest

from devstack.environment import PROJECT

THREATS = [line for line in (PROJECT / "SECURITY.md").read_text().splitlines() if line.startswith("| **")]


@pytest.mark.parametrize("threat", THREATS, ids=lambda line: line.split("**")[1])
def test_threat_has_tests(threat: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", threat.split("|")[3])
    assert named
    for name in named:
        assert "def test_" in (PROJECT / name).read_text(), name


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_dependency_has_its_hash(name: str) -> None:
    text = (PROJECT / name).read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(pins) > 20
    assert [pin for pin in pins if not re.match(r"[\w., \[\]-]+==\S+.*--hash=sha256:", pin)] == []
