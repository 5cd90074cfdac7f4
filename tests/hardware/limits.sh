# Control groups of version 2, which the machine that builds may not have. Sourced by checks.sh.
mount -t cgroup2 none /sys/fs/cgroup
groups=/sys/fs/cgroup/quark
expect "control groups" 1 "$($quark doctor | grep -c 'control groups version 2: cpu, memory, pids, io in /sys/fs/cgroup$')"

spin='print("begins", flush=True)
while True: pass'
begun() { # FILE: waits until it has been written to
	for _ in $(seq 600); do grep -q begins "$1" 2>/dev/null && return; sleep 0.1; done
	echo "FAIL nothing in $1" && failed=1
}
$quark run --memory 128M --cpus 0.2 --pids 40 -- /usr/bin/python3.11 -c "$spin" >/run/spin 2>&1 &
pid=$!
begun /run/spin
group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)
expect "its group" "$groups/sandbox" "${group%%-*}"
expect "processors" "20000 100000" "$(cat $group/cpu.max)"
expect "processes" 40 "$(cat $group/pids.max)"
expect "memory" $(((128 + 16 + 4) << 20)) "$(cat $group/memory.max)"
used() { sed -n 's/^usage_usec //p' $group/cpu.stat; }
before=$(used) && sleep 5
expect "a fifth of a processor" 1 $(($(used) - before < 1500000))
kill -9 $pid && wait $pid 2>/dev/null
expect "the next one" 0 "$($quark run --cpus 1 --pids 64 -- /bin/true; echo $?)"
expect "removes its group" no "$([ -d $group ] && echo yes || echo no)"
expect "on no disk" 57 "$($quark run --io 1M -- /bin/true 2>/dev/null; echo $?)"

# A daemon in a group that was delegated, as systemd does it.
echo "+cpu +memory +pids +io" >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/service
/usr/bin/python3.11 -c 'import os; os.setxattr("/sys/fs/cgroup/service", "trusted.delegate", b"1")'
bash -c 'echo $$ >/sys/fs/cgroup/service/cgroup.procs; exec .venv/bin/snapshotd --root /run/served' >/run/daemon.log 2>&1 &
daemon=$!
for _ in $(seq 600); do [ -S /run/served/run/session.sock ] && break; sleep 0.1; done
expect "the daemon's group" /service/quark-main "$(sed -n 's/^0:://p' /proc/$daemon/cgroup)"
id=$($quark --root /run/served run --detach --cpus 0.5 -- /bin/sleep 1000)
expect "limits" "0.5 1124073472" "$($quark --root /run/served ps --json | /usr/bin/python3.11 -c 'import json, sys; s = json.load(sys.stdin)[0]; print(s["cpus"], s["host_memory_limit_bytes"])')"
expect "one has half a processor" 1 "$(grep -l '^50000 ' /sys/fs/cgroup/service/quark/sandbox-*/cpu.max | wc -l)"
$quark --root /run/served kill $id
kill $daemon && wait $daemon
for _ in $(seq 100); do ls /sys/fs/cgroup/service/quark | grep -q ^sandbox || break; sleep 0.1; done
expect "nothing was left" "" "$(ls /sys/fs/cgroup/service/quark | grep ^sandbox | head -n 1)"
