"""Each case of guest_harness/cases.py: the program does the same natively and in the sandbox."""

import pytest
from guest_harness import cases, later, running


def pytest_generate_tests(metafunc):
    def chosen(option):
        return metafunc.config.getoption(option, default=False)

    table = [*cases.DEFAULT, *(cases.LONG if chosen("long") else ()), *(later.LATER if chosen("later") else ())]
    metafunc.parametrize("case", [pytest.param(case, id=case.name[:60]) for case in table])


@pytest.mark.timeout(0)  # a case has time limits of its own
@pytest.mark.usefixtures("guest_programs")
def test_like_linux(case, request, pytestconfig):
    native_only = pytestconfig.getoption("native_only", default=False)
    quark_run = None if native_only else request.getfixturevalue("quark_run")
    verdict = None
    try:
        running.check(case, quark_run, scale=pytestconfig.getoption("time_scale", default=1))
    except (running.CaseSkipped, running.CaseFailed) as reason:
        verdict = reason
    if isinstance(verdict, running.CaseSkipped):
        pytest.skip(str(verdict))
    if verdict:
        pytest.fail(str(verdict), pytrace=False)
