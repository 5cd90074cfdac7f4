#!/bin/bash
# checks.sh REPOSITORY: what must work on hardware KVM, where the guest kernel runs in ring 0. Runs inside the bed.
cd "$1" || exit 1
export QUARK_ROOT=/run/quark
quark=.venv/bin/quark
failed=0
expect() { # NAME, WANTED, GOT
	if [ "$2" = "$3" ]; then
		echo "ok   $1"
	else
		echo "FAIL $1: wanted '$2', got '$3'"
		failed=1
	fi
}
python() { timeout 60 $quark run "${@:2}" -- /usr/bin/python3.11 -c "$1" 2>&1; }

$quark doctor || failed=1
expect "ring mode" 1 "$($quark doctor | grep -c 'hardware KVM: the guest kernel runs in ring 0')"
expect "hello" "hello" "$($quark run -- /bin/echo hello 2>&1)"
expect "forced ring3 is refused" 2 "$($quark run --ring ring3 -- /bin/true >/dev/null 2>&1; echo $?)"
expect "python" 45 "$(python 'import json, ssl, sqlite3, asyncio; print(sum(range(10)))')"
expect "sleeping" True "$(python 'import time; t = time.monotonic(); time.sleep(0.2); print(0.2 <= time.monotonic() - t < 2)')"
expect "the wall clock" True "$(python "import time; print(abs(time.time() - $(date +%s)) < 30)")"

cat >/tmp/app.py <<'PYTHON'
import json, os
table = [i * i for i in range(100_000)]
f = os.open("/dev/quark", os.O_RDWR)
os.write(f, b"ready\n")
doc = json.loads(os.read(f, 65536))
print(doc["clone"], doc["args"], table[777])
PYTHON
expect "snapshot" 0 "$(timeout 60 $quark snapshot create warm --ready-file -- /usr/bin/python3.11 /tmp/app.py >/dev/null 2>&1; echo $?)"
for n in 1 2 3; do
	expect "clone $n" "True ['$n'] 603729" "$(timeout 60 $quark run --from-snapshot warm -- $n 2>&1)"
done
expect "clone without prefetch" "True ['n'] 603729" "$(timeout 60 $quark run --from-snapshot warm --prefetch none -- n 2>&1)"

mkdir /run/volume && truncate -s 1M /run/volume/f
cat >/tmp/shared.py <<'PYTHON'
import mmap
f = open("/data/f", "r+b")
m = mmap.mmap(f.fileno(), 0)
m[500_000:500_005] = b"guest"
f.seek(500_000)
print(f.read(5).decode(), flush=True)
while m[500_000] == ord("g"):
    pass
print("zeros")
PYTHON
(while ! grep -q guest /run/volume/f; do sleep 0.1; done; sleep 1; truncate -s 8192 /run/volume/f) &
expect "a shared mapping of a volume, and SIGBUS when its file is cut" "guest status 135" \
	"$(echo $(timeout 60 $quark run -v /run/volume:/data -- /usr/bin/python3.11 /tmp/shared.py 2>&1; echo "status $?"))"
wait

mkdir /run/full && mount -t tmpfs -o size=1m none /run/full
cat >/tmp/full.py <<'PYTHON'
import mmap
f = open("/data/f", "w+b")
f.truncate(4 << 20)
m = mmap.mmap(f.fileno(), 0)
zeros = open("/dev/zero", "rb", 0)
try:
    for i in range(4):
        zeros.readinto(memoryview(m)[i << 20 : (i + 1) << 20])
except OSError as e:
    print(e.strerror, flush=True)
m[-1] = 1
PYTHON
expect "a shared mapping of a volume without room, and SIGBUS" "Bad address status 135" \
	"$(echo $(timeout 60 $quark run -v /run/full:/data -- /usr/bin/python3.11 /tmp/full.py 2>&1; echo "status $?"))"

. tests/hardware/prepared.sh
. tests/hardware/limits.sh

# Guest tests, natively and in a sandbox. Left out: those that need arguments, take minutes in an emulated processor, or look at the bed itself.
skip=' fuzz load_args load_exit load_stdin mem_stack_dies cpu_kernels mem_random file_random dev_nodes event_poll sys_misc '
skip+='mem_mtime overlay_names overlay_write threads_mix avx_threads hash_chain output_stream files_churn pipes_ring sleepers sockets_echo timers_signals '
# The tests look at the clock, and an emulated processor on a busy machine is late at times, natively too: three tries, and a test that fails
# natively each time says nothing about the guest.
for program in build/guest/static/*; do
	name=$(basename "$program")
	[[ $skip == *" $name "* ]] && continue
	verdict=
	for try in 1 2 3; do
		rm -rf /run/work /run/guest && mkdir /run/work /run/guest
		native=$(cd /run/work && timeout 30 "$1/$program" 2>/dev/null </dev/null; echo "status $?")
		[[ $native == *FAIL* ]] && { verdict="skip $name: fails natively in the bed"; continue; }
		guest=$(timeout -k 1 30 $quark run --cwd /run/guest --env HOME=/run/guest --env LANG=C.UTF-8 -- "$1/$program" 2>/dev/null </dev/null; echo "status $?")
		[ "$native" = "$guest" ] && { verdict="ok   $name"; break; }
		verdict="FAIL $name (try $try)"
	done
	echo "$verdict"
	if [[ $verdict == FAIL* ]]; then
		diff <(echo "$native") <(echo "$guest") | head -n 6
		failed=1
	fi
done
exit $failed
