# A clone of a daemon's that was prepared: in ring 0 as well its guest has run before there was a request. Sourced by checks.sh.
served="$quark --root /run/ahead"
printf 'root = "/run/ahead"\nprepared_reserve = 0\n' >/run/ahead.toml
.venv/bin/snapshotd --config /run/ahead.toml >/run/ahead.log 2>&1 &
daemon=$!
for _ in $(seq 600); do [ -S /run/ahead/run/session.sock ] && break; sleep 0.1; done
expect "a snapshot by a daemon" 0 "$(timeout 60 $served snapshot create warm --ready-file -- /usr/bin/python3.11 /tmp/app.py >/dev/null 2>&1; echo $?)"
expect "its first clone" "True ['1'] 603729" "$(timeout 60 $served run --from-snapshot warm -- 1 2>&1)"
expect "one is prepared" 0 "$(timeout 60 $served snapshot warm warm --clones 1 >/dev/null 2>&1; echo $?)"
expect "it answers" "True ['2'] 603729" "$(timeout 60 $served run --from-snapshot warm -- 2 2>&1)"
expect "it was prepared" 1 "$($served store stats | sed -n 's/^prepared_taken *//p')"
kill $daemon && wait $daemon
