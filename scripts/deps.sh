#!/bin/sh
# Makes sure that Limpet can be built and tested here, and installs what is missing.
# Looks each time, so that there is no stamp to go stale.
#
#   scripts/deps.sh build   Go, which is all that Limpet itself needs
#   scripts/deps.sh demo    for examples/perhit besides: a C compiler, pkg-config, Tcl, bash
#   scripts/deps.sh         for the tests besides: libzmq and the Python packages of their foreign peers
#
# Installs as root, or through sudo where that asks no password. Elsewhere it names what
# is missing with the command that installs it, and exits 1. Python packages that may not
# be installed are a warning only: the tests that need them are skipped and say so.
set -eu

purpose=${1:-test}
case $purpose in
build | demo | test) ;;
*)
	echo "deps: no purpose '$purpose': build, demo or test" >&2
	exit 2
	;;
esac

zmq_oldest=4.2
no_python='warning: the Python packages zmq and msgpack are missing; tests with Python peers will be skipped'
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

say() { printf '%s\n' "deps: $*" >&2; }

# --- what is there -----------------------------------------------------------

compiler_there() {
	cc=${CC:-$(go env CC 2>/dev/null)} || cc=gcc
	# shellcheck disable=SC2086 # CC may carry arguments
	printf '#include <stdlib.h>\n' | ${cc:-gcc} -E -o /dev/null - 2>/dev/null
}

pkg_config() { "${PKG_CONFIG:-pkg-config}" "$@" 2>/dev/null; }

# The tests run Debian's interpreter where there is one: it sees the distribution's packages.
python_there() {
	interpreter=/usr/bin/python3
	[ -x "$interpreter" ] || interpreter=python3
	"$interpreter" -c 'import sys
from importlib.util import find_spec
sys.exit(not all(map(find_spec, ("zmq", "msgpack"))))' 2>/dev/null
}

# Prints a word for each thing that the purpose cannot do without.
missing_required() {
	[ "$purpose" != build ] || return 0
	compiler_there || echo compiler
	pkg_config --version >/dev/null || echo pkg-config
	pkg_config --exists tcl || echo tcl
	command -v bash >/dev/null || echo bash # scripts/demo.sh
	[ "$purpose" = demo ] || pkg_config --exists "libzmq >= $zmq_oldest" || echo libzmq
}

missing_python() { [ "$purpose" != test ] || python_there || echo python; }

# Go is not installed from here: what distributions ship is often too old.
go_there() {
	needed=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' "$root/go.mod")
	if ! command -v go >/dev/null; then
		say "Go $needed or newer is needed and there is none on PATH: install it from https://go.dev/dl/"
		return 1
	fi
	# In the module Go may switch to a newer toolchain by itself; that counts as there.
	have=$(cd "$root" && go env GOVERSION 2>/dev/null) || have=$(cd / && go env GOVERSION)
	# "go1.26.8", "devel go1.27-abcdef" and the like: only major and minor matter.
	numbers=$(printf '%s\n' "$have" | sed -n 's/.*go\([0-9][0-9]*\)\.\([0-9][0-9]*\).*/\1 \2/p')
	[ -n "$numbers" ] || { say "cannot read the version of Go from '$have'; carrying on"; return 0; }
	if [ "${numbers% *}" -lt "${needed%.*}" ] ||
		{ [ "${numbers% *}" -eq "${needed%.*}" ] && [ "${numbers#* }" -lt "${needed#*.}" ]; }; then
		say "Go $needed or newer is needed, this is $have: install a newer one from https://go.dev/dl/"
		say "(or let Go fetch it: go env -w GOTOOLCHAIN=auto, from Go 1.21 on)"
		return 1
	fi
}

# --- how to get it -----------------------------------------------------------

manager() {
	for m in apt-get dnf apk pacman; do
		if command -v "$m" >/dev/null; then
			echo "$m"
			return
		fi
	done
	echo none
}

# packages MANAGER THING... prints the names under which that manager knows the things.
packages() {
	m=$1
	shift
	for thing; do
		case "$m:$thing" in
		apt-get:compiler) echo gcc libc6-dev ;;
		apt-get:libzmq) echo libzmq3-dev ;;
		apt-get:tcl) echo tcl-dev ;;
		apt-get:python) echo python3 python3-zmq python3-msgpack ;;

		dnf:compiler) echo gcc glibc-devel ;;
		dnf:pkg-config) echo pkgconf-pkg-config ;;
		dnf:libzmq) echo zeromq-devel ;;
		dnf:tcl) echo tcl-devel ;;
		dnf:python) echo python3 python3-zmq python3-msgpack ;;

		apk:compiler) echo gcc musl-dev ;;
		apk:pkg-config) echo pkgconf ;;
		apk:libzmq) echo zeromq-dev ;;
		apk:tcl) echo tcl-dev ;;
		apk:python) echo python3 py3-pyzmq py3-msgpack ;;

		pacman:compiler) echo gcc ;;
		pacman:pkg-config) echo pkgconf ;;
		pacman:libzmq) echo zeromq ;;
		pacman:python) echo python python-pyzmq python-msgpack ;;

		*) echo "$thing" ;;
		esac
	done | tr '\n' ' ' | sed 's/ $//'
}

# Prints the one line that installs THING... with the privileges in $2 ("", "sudo").
install_command() {
	m=$1 as=${2:+$2 }
	shift 2
	names=$(packages "$m" "$@")
	case $m in
	apt-get)
		# One broken source among many fails the update but seldom the install.
		echo "${as}apt-get update;" \
			"${as}env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 $names"
		;;
	dnf) echo "${as}dnf install -y $names" ;;
	apk) echo "${as}apk add $names" ;;
	pacman) echo "${as}pacman -Sy --needed --noconfirm $names" ;;
	esac
}

# Prints what to do about THING... where this script may not do it.
advise() {
	m=$(manager)
	if [ "$m" = none ]; then
		say "there is no apt-get, dnf, apk or pacman here: install these by hand, then try again: $*"
		return
	fi
	say "installing needs root. Run this, then try again:"
	printf '\n    %s\n\n' "$(install_command "$m" sudo "$@")" >&2
}

may_install() {
	[ "$(manager)" != none ] || return 1
	[ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# Installs THING...; the package manager's words go to stderr.
install() {
	as=''
	[ "$(id -u)" -eq 0 ] || as=sudo
	line=$(install_command "$(manager)" "$as" "$@")
	say "missing: $*. Installing: $line"
	sh -c "$line" </dev/null >&2
}

# Says why THING... is still missing after the package manager was done.
explain() {
	say "still missing: $*"
	old=$(pkg_config --modversion libzmq) || old=''
	case " $* " in
	*" libzmq "*)
		if [ -n "$old" ]; then
			say "libzmq here is $old, $zmq_oldest or newer is needed: use a newer release of this system," \
				"or build it from https://github.com/zeromq/libzmq/releases"
		elif [ "$(manager)" = dnf ]; then
			say "libzmq's headers: on Enterprise Linux they are in EPEL (dnf install epel-release)"
		fi
		;;
	esac
}

# --- in order ----------------------------------------------------------------

status=0
go_there || status=1

required=$(missing_required)
python=$(missing_python)
[ -n "$required$python" ] || exit "$status"

# shellcheck disable=SC2086 # the words of $required are separate things
if ! may_install; then
	[ -z "$required" ] || say "missing:" $required
	[ -z "$python" ] || say "$no_python"
	advise $required $python
	[ -z "$required" ] || status=1
	exit "$status"
fi

# All in one go; where that fails, once more without the Python packages, which can be done without.
# shellcheck disable=SC2086
install $required $python || { [ -n "$required" ] && [ -n "$python" ] && install $required; } ||
	say "the package manager failed"

required=$(missing_required)
python=$(missing_python)
# shellcheck disable=SC2086
[ -z "$required" ] || { explain $required; status=1; }
if [ -n "$python" ]; then
	say "$no_python"
	[ -z "${CI:-}" ] || status=1 # CI must not skip them unseen
fi
exit "$status"
