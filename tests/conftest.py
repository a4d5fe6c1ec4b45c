"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest

# What our programs read of the environment is what each test gives them, not what a CI service or a developer has set.
_READ = {"BROWSER", "CI", "FORCE_COLOR", "LANGUAGE", "NO_COLOR", "PORT", "PROMETHEUS_MULTIPROC_DIR", "WEB_CONCURRENCY"}
_READ_FAMILIES = ("OPENAI_", "OTEL_", "PPIO_", "TTY_")
for name in list(os.environ):
    if name in _READ or name.startswith(_READ_FAMILIES):
        del os.environ[name]
os.environ["LC_ALL"] = "C.UTF-8"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts background jobs, and theirs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured output: pytest-xdist sends reports as UTF-8, and some tests are about them."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report
