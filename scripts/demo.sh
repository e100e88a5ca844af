#!/usr/bin/env bash
# The per-hit example from end to end, as separate processes: a broker, two workers and
# a web front; then real hits at it, every answer checked, one worker killed halfway.
#
#   scripts/demo.sh           exits 0 if every answer was right
#   scripts/demo.sh --serve   leaves it running on the default ports until Ctrl-C
#
# Without --serve it takes free ports, so that several can run beside each other.
# LIMPET_DEMO_HITS and LIMPET_DEMO_CONCURRENCY change how much is fired.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
limpet=$root/bin/limpet
perhit=$root/bin/perhit
hits=${LIMPET_DEMO_HITS:-300}
concurrency=${LIMPET_DEMO_CONCURRENCY:-16}
slots=4

logs=''
pids=() # of everything started here and not known to have ended, in that order

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# --- starting and ending -----------------------------------------------------

# Starts NAME COMMAND... with its output in a log of that name; its process id is in $started.
start() {
	local log=$logs/$1.log
	shift
	: >"$log" # there is something to read from the first moment on
	"$@" >>"$log" 2>&1 </dev/null &
	started=$!
	pids+=("$started")
	disown "$started" # so that bash does not report its end
}

# Runs COMMAND... to its end, so that a signal to this script stops it at once.
attend() {
	local code=0
	"$@" </dev/null &
	pids+=("$!")
	wait "$!" || code=$?
	forget "$!"
	return "$code"
}

# Strikes a process that has ended from the list: its id may be somebody else's by now.
forget() {
	local pid left=()
	for pid in "${pids[@]}"; do
		[ "$pid" = "$1" ] || left+=("$pid")
	done
	pids=(${left[@]+"${left[@]}"})
}

running() { kill -0 "$1" 2>/dev/null; }

all_running() {
	local pid
	for pid in "${pids[@]}"; do
		running "$pid" || return 1
	done
}

# Ends the processes, the last one first; one that has not gone in five seconds is killed.
stop_all() {
	local i pid n
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		pid=${pids[i]}
		kill -TERM "$pid" 2>/dev/null || true
		for ((n = 0; n < 50; n++)); do
			running "$pid" || break
			sleep 0.1
		done
		kill -KILL "$pid" 2>/dev/null || true
	done
	pids=()
}

show_logs() {
	local log
	for log in "$logs"/*.log; do
		[ -s "$log" ] || continue
		printf '\n--- the end of %s\n' "${log##*/}" >&2
		tail -n 25 "$log" >&2
	done
}

# The one way out: everything is stopped, and the logs are shown where something failed.
leave() {
	local code=$?
	trap - EXIT
	trap '' INT TERM
	stop_all
	if [ -n "$logs" ]; then
		case $code in
		0 | 130 | 143) ;;
		*) show_logs ;;
		esac
		rm -rf -- "$logs"
	fi
	exit "$code"
}

# --- ports and readiness -----------------------------------------------------

# Prints a port of this machine that nobody listens on just now. It is below the range that
# systems give to outgoing connections.
free_port() {
	local port n
	for ((n = 0; n < 100; n++)); do
		port=$((10000 + RANDOM % 20000))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	fail "no free port found on 127.0.0.1"
}

# Waits for at most a minute until the broker answers; 1 if it ended or did not.
await_broker() {
	local n
	for ((n = 0; n < 600; n++)); do
		"$limpet" status >/dev/null 2>&1 && running "$1" && return
		running "$1" || return 1
		sleep 0.1
	done
	return 1
}

# Starts the broker on the given ports; 1 if it does not come up there.
start_broker() {
	export LIMPET_BROKER=tcp://127.0.0.1:$1
	export LIMPET_ADMIN=127.0.0.1:$2
	admin=$LIMPET_ADMIN
	start broker "$limpet" broker --listen "$LIMPET_BROKER" --admin "$admin"
	await_broker "$started"
}

# A free port may be taken by somebody else before the broker has it: then another one.
start_broker_anywhere() {
	local n
	for ((n = 0; n < 5; n++)); do
		start_broker "$(free_port)" "$(free_port)" && return
		stop_all
	done
	fail "the broker does not start"
}

# Starts the front at the given port, 0 for a free one, and reads its address from its log.
start_front() {
	local n
	start front "$perhit" front --listen "127.0.0.1:$1" --wait 20s --timeout 30s
	for ((n = 0; n < 600; n++)); do
		front=$(sed -n 's/^perhit: answering hits at //p' "$logs/front.log")
		[ -z "$front" ] || return 0
		running "$started" || break
		sleep 0.1
	done
	fail "the front does not start"
}

start_worker() { start "worker-$1" "$perhit" worker --name "worker-$1" --slots "$slots" --time-limit "$2"; }

# --- the two ways to run it --------------------------------------------------

build() {
	make -s -C "$root" build
	(cd "$root/examples/perhit" && go build -buildvcs=false -o "$perhit" .)
}

# Starts the workers and the front, and waits until each worker has answered a hit.
start_rest() {
	start_worker 1 "$2"
	worker1=$started
	start_worker 2 "$2"
	worker2=$started
	start_front "$1"
	attend "$perhit" fire --front "$front" --workers "$worker1,$worker2" --hits 0 --ready 1m
	printf 'broker   %s\n' "$LIMPET_BROKER"
	printf 'workers  processes %s and %s, %s slots each\n' "$worker1" "$worker2" "$slots"
	printf 'front    %s\n' "$front"
}

demo() {
	title "A broker, two worker processes and a web front"
	start_broker_anywhere
	start_rest 0 2s
	title "$hits hits, $concurrency at once; worker $worker1 is killed halfway"
	attend "$perhit" fire --front "$front" --workers "$worker1,$worker2" --kill "$worker1" \
		--hits "$hits" --concurrency "$concurrency"
	forget "$worker1"
	title "Every answer was right, apart from those lost with the killed worker"
}

serve() {
	trap 'exit 0' INT TERM # the way to end it
	title "A broker, two worker processes and a web front"
	start_broker 7700 7701 || fail "the broker does not start on ports 7700 and 7701"
	start_rest 7780 2s
	title "Try, from another terminal"
	cat <<-EOF
		curl '$front/run/fib?x=15'
		curl -d 'expr {\$x ** 100}' '$front/run?x=3'
		curl $front/scripts
		curl http://$admin/v1/status
		bin/limpet status
		bin/limpet call tcl eval '{"script": "expr 6 * 7"}'
		printf '%s\n' 'set {"name": "x", "value": "3"}' 'eval {"script": "incr x 4"}' 'collect {}' | bin/limpet session tcl
	EOF
	title "Ctrl-C ends it"
	while all_running; do
		sleep 0.5
	done
	fail "one of the processes has ended by itself"
}

trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

case ${1-} in
'') run=demo ;;
--serve) run=serve ;;
*)
	printf 'usage: scripts/demo.sh [--serve]\n' >&2
	exit 2
	;;
esac
"$root/scripts/deps.sh" demo
logs=$(mktemp -d "${TMPDIR:-/tmp}/limpet-demo.XXXXXX")
title "Building"
build
"$run"
