# Small functions that the project's shell scripts share. Source it; it does nothing by itself.
# shellcheck shell=bash

# Talk on stderr, so that a script's stdout stays free for what its caller reads.
say() { printf '%s\n' "$*" >&2; }

die() {
	printf '%s: error: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# port_is_free PORT: does nobody listen there on the loopback address?
# (bash's /dev/tcp needs no tool that a small Debian image may lack)
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# require_port_free PORT WHAT-FOR [HOW]: stop with a message that names whoever holds the port, and how to choose another.
require_port_free() {
	port_is_free "$1" && return 0
	local holder=
	if command -v ss >/dev/null; then
		# ss ends a listener's line with: users:(("name",pid=123,fd=4))
		holder=$(ss -Hltnp "sport = :$1" | sed -nE 's/.*users:\(\("([^"]+)",pid=([0-9]+).*/\1 (pid \2)/p' | sort -u | head -n 1)
	fi
	die "port $1, wanted for $2, is in use by ${holder:-another process (one of another user, or 'ss' is not installed)}; stop that, or choose another port${3:+: $3}"
}

# free_port: print a port that nobody listens on. It is below the range from which the kernel
# numbers outgoing connections (32768 and up), so that a server can stop and later get it back.
free_port() {
	local port
	while port=$((20000 + RANDOM % 12000)); do
		port_is_free "$port" && break
	done
	echo "$port"
}

# wait_for SECONDS COMMAND...: repeat the command until it succeeds; fails at the deadline.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}
