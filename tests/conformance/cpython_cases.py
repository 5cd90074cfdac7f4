"""Runs CPython's own regression tests (python -m test) and writes a record for every test case: what the two sides of a comparison run.

Usage: python3.11 cpython_cases.py FOLDER CASE_SECONDS REGRTEST-ARGUMENTS...

FOLDER/records gets lines of JSON: ["START", case], ["END", case, outcome, reason]. A case that takes longer than CASE_SECONDS ends the process, so
that its START has no END. The cases in FOLDER/done, one a line, are left out, and if FOLDER/only has any, only these run. With QUARK_UNIX_ONLY=1 in
the environment the kernel refuses every address family but AF_UNIX first: what fails natively then needs a network.
"""

import ctypes
import faulthandler
import json
import os
import signal
import struct
import sys
import traceback

RANK = ("PASS", "XFAIL", "SKIP", "UXPASS", "FAIL", "ERROR")
REASON_MAX = 600
# seccomp(2), linux/filter.h, linux/audit.h
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
SYS_SOCKET, SYS_SOCKETPAIR, AF_UNIX, EAFNOSUPPORT = 41, 53, 1, 97
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data


def refuse_networks():
    """Let socket and socketpair make AF_UNIX sockets only, in this process and all that it starts."""
    steps = [
        (LOAD, 0, 0, NUMBER),
        (JUMP_EQUAL, 1, 0, SYS_SOCKET),
        (JUMP_EQUAL, 0, 2, SYS_SOCKETPAIR),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_EQUAL, 0, 1, AF_UNIX),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | EAFNOSUPPORT),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def main():
    """Wrap unittest's result class, then run regrtest."""
    import fcntl

    import test.support.testresult as results

    folder, seconds = sys.argv[1], float(sys.argv[2])
    sys.argv[1:3] = [f"--ignorefile={folder}/done"]
    if os.path.getsize(f"{folder}/only"):
        sys.argv[1:1] = [f"--matchfile={folder}/only"]
    del sys.path[0]  # as with -m
    opened = os.open(f"{folder}/records", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    records = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 200)  # tests count on low numbers
    os.close(opened)
    me, getpid, write = os.getpid(), os.getpid, os.write  # tests replace these
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    if os.environ.pop("QUARK_UNIX_ONLY", ""):
        refuse_networks()

    def emit(*fields):
        if getpid() == me:
            write(records, (json.dumps(fields) + "\n").encode())

    class Result(results.RegressionTestResult):
        case = None

        def startTest(self, test):
            self.case = [test.id(), "PASS", ""]
            emit("START", test.id())
            faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
            super().startTest(test)

        def stopTest(self, test):
            faulthandler.cancel_dump_traceback_later()
            if self.case:
                emit("END", self.case[0], self.case[1], self.case[2][-REASON_MAX:])
            self.case = None
            super().stopTest(test)

        def note(self, test, outcome, reason=""):
            if self.case is None:  # of a class or module: setUpClass failed
                emit("END", str(test), outcome, reason[-REASON_MAX:])
            elif RANK.index(outcome) > RANK.index(self.case[1]):
                self.case[1:] = [outcome, reason]

        def addError(self, test, err):
            self.note(test, "ERROR", "".join(traceback.format_exception(*err)))
            super().addError(test, err)

        def addFailure(self, test, err):
            self.note(test, "FAIL", "".join(traceback.format_exception(*err)))
            super().addFailure(test, err)

        def addSkip(self, test, reason):
            self.note(test, "SKIP", str(reason))
            super().addSkip(test, reason)

        def addExpectedFailure(self, test, err):
            self.note(test, "XFAIL")
            super().addExpectedFailure(test, err)

        def addUnexpectedSuccess(self, test):
            self.note(test, "UXPASS")
            super().addUnexpectedSuccess(test)

        def addSubTest(self, test, subtest, err):
            if err is not None:
                outcome = "FAIL" if issubclass(err[0], test.failureException) else "ERROR"
                self.note(test, outcome, f"{subtest}\n{''.join(traceback.format_exception(*err))}")
            super().addSubTest(test, subtest, err)

    results.RegressionTestResult = Result
    from test.libregrtest import main as regrtest

    regrtest()


if __name__ == "__main__":
    main()
