"""A PostgreSQL server in a sandbox: initdb, a server on a Unix socket (System V shared memory and semaphores, many processes), pgbench."""

from pathlib import Path

import pytest

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
# PostgreSQL refuses to run as root. What the sandbox keeps in memory is enough for its files.
SCRIPT = f"""
set -e
export PATH={PROGRAMS}:$PATH LC_ALL=C HOME=/tmp/pg
mkdir /tmp/pg
chown nobody /tmp/pg
cd /tmp/pg
as() {{ setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }}
as initdb -D data -U tester -A trust --no-sync >initdb.log || {{ cat initdb.log; exit 1; }}
as pg_ctl -D data -l server.log -w -t 120 -o "-k /tmp/pg -c listen_addresses=''" start >/dev/null || {{ cat server.log; exit 1; }}
as pgbench -h /tmp/pg -U tester -q -i postgres 2>pgbench.log || {{ cat pgbench.log server.log; exit 1; }}
as pgbench -h /tmp/pg -U tester -n -c 4 -j 2 -t 50 postgres 2>pgbench.log || {{ cat pgbench.log server.log; exit 1; }}
as psql -h /tmp/pg -U tester -Atc "select count(*), sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts, \
(select count(*) as n from pgbench_history) h where h.n = 200" postgres
test "$(ls /dev/shm | grep -c PostgreSQL)" -ge 1
grep -qE '^ +[0-9]+ +[0-9]+ ' /proc/sysvipc/shm
as pg_ctl -D data -m fast -w -t 120 stop >/dev/null
! grep -qE '^ +[0-9]+ +[0-9]+ ' /proc/sysvipc/shm
"""


@pytest.mark.skipif(not (PROGRAMS / "pgbench").exists(), reason="postgresql-15 is not installed")
def test_pgbench_on_a_unix_socket(quark):
    done = quark("run", "--memory", "1G", "--", "/bin/bash", "-c", SCRIPT, timeout=240)
    assert done.status == 0, done.out + done.err
    assert "number of transactions actually processed: 200/200" in done.out
    assert done.out.splitlines()[-1] == "100000|t", done.out
