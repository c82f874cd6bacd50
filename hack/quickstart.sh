#!/usr/bin/env bash
# The quickstart: a real control plane on this machine, the operator, a factory's CAs, and a device that enrols over EST.
# It can be run again at any time, also after Ctrl-C: it does what is missing and leaves the rest alone.
set -euo pipefail

usage() {
	cat <<'END'
usage: hack/quickstart.sh [--existing-cluster]     (make quickstart)
       hack/quickstart.sh down [--purge]           (make down [PURGE=1])
  --existing-cluster  use the cluster that KUBECONFIG leads to instead of starting one. Without this option KUBECONFIG
                      is ignored, so that nothing is written into a cluster by mistake. (make quickstart CLUSTER=existing)
  down                stop everything that the quickstart started; what is in .local/ stays for the next time
  --purge             delete .local/ too: the trial cluster with all its objects, CA keys and device keys
environment:
  EST_PORT            the port of the EST server; default 8443
  METRICS_PORT        the port of /metrics, /healthz and /readyz; default 9090
  EST_NAME            a DNS name or IP address by which devices on your network reach this machine. It goes into the EST
                      server's certificate, and EST listens on all addresses instead of 127.0.0.1 only.
  DEVICECERT_LOCAL    the folder for everything that is started and made; default .local in the repository
END
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=hack/lib.sh
. "$repo/hack/lib.sh"
cd "$repo"

state=$(realpath -m "${DEVICECERT_LOCAL:-.local}")
short=${state#"$repo/"} # for what is shown, so that lines stay short
est_port=${EST_PORT:-8443}
metrics_port=${METRICS_PORT:-9090}
est_name=${EST_NAME:-}
est=https://127.0.0.1:$est_port
device=camera-1 # the device that enrols here

# What listens on this machine is not to be asked for through a proxy.
no_proxy=${no_proxy:+$no_proxy,}127.0.0.1,localhost
export no_proxy NO_PROXY=$no_proxy

# ---- what the reader sees -------------------------------------------------------------------------------------------

step() { printf '\n==> %s\n' "$*"; }

# note WORDS...: a line below a step.
note() { printf '    %s\n' "$*"; }

# typed WORDS...: a command as one would type it.
typed() { printf '\n    $ %s\n' "$*"; }

# shown COMMAND...: run a command and show it with its output, indented.
shown() {
	typed "$*"
	"$@" | indent
}

indent() { sed 's/^/    /'; }

# ---- the operator's process -----------------------------------------------------------------------------------------

pid_file=$state/operator.pid
log=$state/operator.log

# Our operator is the process of the pid file that runs with our kubeconfig; a pid is used anew sooner or later.
operator_pid() {
	local pid
	pid=$(cat "$pid_file" 2>/dev/null) && [[ -n $pid ]] &&
		tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "KUBECONFIG=$state/kubeconfig" && echo "$pid"
}

operator_gone() { ! operator_pid >/dev/null; }

stop_operator() {
	local pid
	pid=$(operator_pid) || { rm -f "$pid_file" && return 0; }
	kill "$pid" 2>/dev/null || true
	# It finishes the requests that are under way, for at most ten seconds.
	wait_for 15 operator_gone || kill -9 "$pid" 2>/dev/null || true
	wait_for 5 operator_gone || die "the operator (pid $pid) does not end"
	rm -f "$pid_file"
}

# require_ports [PID]: the ports that the operator PID has, which is about to be replaced, count as free.
require_ports() {
	local own=''
	[[ -z ${1:-} ]] || own=$(tr '\0' ' ' <"/proc/$1/cmdline")
	[[ $own == *":$est_port "* ]] || require_port_free "$est_port" "the EST server" "make quickstart EST_PORT=9443 METRICS_PORT=$metrics_port"
	[[ $own == *":$metrics_port "* ]] || require_port_free "$metrics_port" "the operator's metrics" "make quickstart EST_PORT=$est_port METRICS_PORT=9190"
}

# Does the running operator have this program and these arguments?
operator_is_current() {
	cmp -s "/proc/$1/exe" "$operator" && printf '%s\0' "$operator" "${arguments[@]}" | cmp -s - "/proc/$1/cmdline"
}

start_operator() {
	local pid name
	pid=$(operator_pid) || pid=''
	if [[ -n $pid ]] && operator_is_current "$pid"; then
		note "it runs already (pid $pid)"
		return 0
	fi
	if [[ -n $pid ]]; then
		note "the one that runs has another program or other options: replacing it"
		require_ports "$pid"
		stop_operator
	fi
	require_ports
	[[ ! -s $log ]] || mv "$log" "$log.1"
	rm -f "$pid_file"
	# In a session of its own, where Ctrl-C and a closed terminal do not reach it. It writes down its pid itself, before
	# anything else: whatever happens to us, `down` will find it.
	(
		for name in ${!DEVICECERT_@}; do unset "$name"; done # an option from the environment would be a surprise
		unset {http,https,all}_proxy {HTTP,HTTPS,ALL}_PROXY # the operator speaks with nobody but the API server
		# shellcheck disable=SC2016 # expanded by the inner shell
		NO_COLOR=1 KUBECONFIG=$state/kubeconfig setsid bash -c 'echo $$ >"$0" && exec "$@"' "$pid_file" "$operator" "${arguments[@]}" \
			</dev/null >"$log" 2>&1 9>&- &
	)
	wait_for 10 test -s "$pid_file" || die "could not start the operator; see $log"
	note "started (pid $(cat "$pid_file"), log $short/operator.log)"
}

# await SECONDS WHAT COMMAND...: wait until the command succeeds, as long as the operator lives.
await() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		if operator_gone; then
			tail -n 15 "$log" >&2 || true
			die "the operator has ended; the end of its log is above, all of it in $log"
		fi
		if ((SECONDS >= deadline)); then
			tail -n 15 "$log" >&2 || true
			kubectl get devicecert --output wide >&2 || true
			die "$what did not happen in time; the operator's log (above, and in $log) should say why"
		fi
		sleep 0.2
	done
}

# ---- steps ----------------------------------------------------------------------------------------------------------

refuse_other_cluster() {
	[[ -s $state/mode && $(cat "$state/mode") != "$1" ]] || return 0
	die "$short holds a quickstart of the other kind ($(cat "$state/mode")): remove it first with: make down PURGE=1"
}

start_own_cluster() {
	refuse_other_cluster "own cluster"
	echo "own cluster" >"$state/mode"
	step "Control plane: etcd, kube-apiserver and kube-controller-manager … some seconds"
	local options=()
	[[ ! -x $DEVICECERT_TOOLS/kube-controller-manager ]] || options=(--controller-manager)
	tests/cluster/cluster up "$state/cluster" ${options[@]+"${options[@]}"} 2>&1 | sed '/export KUBECONFIG/d' | indent
	install -m 600 "$state/cluster/kubeconfig" "$state/kubeconfig.new"
	mv "$state/kubeconfig.new" "$state/kubeconfig"
	export KUBECONFIG=$state/kubeconfig
}

use_existing_cluster() {
	refuse_other_cluster "existing cluster"
	step "The cluster of your kubeconfig"
	[[ -n ${KUBECONFIG:-} ]] || die "with an existing cluster KUBECONFIG must say which: make quickstart CLUSTER=existing KUBECONFIG=FILE"
	local context server found
	if [[ $KUBECONFIG != "$state/kubeconfig" ]]; then
		# One context, fixed now: a later `kubectl config use-context` must not send the operator elsewhere.
		(umask 077 && kubectl config view --minify --flatten --raw >"$state/kubeconfig.new") || die "KUBECONFIG=$KUBECONFIG has no usable current context"
		mv "$state/kubeconfig.new" "$state/kubeconfig"
	fi
	export KUBECONFIG=$state/kubeconfig
	context=$(kubectl config current-context)
	server=$(kubectl config view --minify --output 'jsonpath={.clusters[0].cluster.server}')
	note "context $context, server $server"
	kubectl --request-timeout=10s get --raw /readyz >/dev/null || die "$server does not answer"
	found=$(kubectl get deployments --all-namespaces --selector app.kubernetes.io/name=devicecert-operator --output name)
	[[ -z $found ]] || die "a devicecert-operator is installed in that cluster already, and two would disturb each other"
	note "It gets the CRDs, the namespace devicecert-system and the objects of deploy/samples/quickstart.yaml in 'default'."
	echo "existing cluster" >"$state/mode"
}

# The operator as the tests build it, so that nothing is built twice.
build_operator() {
	step "Building the operator … about ten minutes on two idle cores the first time, then seconds"
	cargo build --locked --bins 9>&-
	programs=$(cargo metadata --no-deps --format-version 1 --offline --locked | jq -r .target_directory)/debug
	operator=$programs/devicecert-operator
	[[ -x $operator ]] || die "cargo built no $operator"
}

apply_crds() {
	step "Custom resource definitions, and the namespace for CA keys"
	kubectl apply --server-side --force-conflicts --filename crds/ | indent
	kubectl wait --for=condition=Established --timeout=60s --filename crds/ >/dev/null
	kubectl get namespace devicecert-system >/dev/null 2>&1 || kubectl create namespace devicecert-system | indent
	# In a cluster of somebody's own the chart brings the policies that protect approvals and status. Here the operator is no
	# ServiceAccount but the administrator.
	[[ $1 == existing ]] || helm template devicecert-operator charts/devicecert-operator --namespace devicecert-system \
		--set "statusPolicy.users={$(kubectl auth whoami --output 'jsonpath={.status.userInfo.username}')}" \
		--show-only templates/approvalpolicy.yaml --show-only templates/statuspolicy.yaml | kubectl apply --filename - | indent
}

operator_arguments() {
	local address=127.0.0.1 scope=() names=(--est-dns-name localhost --est-dns-name 127.0.0.1)
	[[ -z $est_name ]] || address=0.0.0.0 names+=(--est-dns-name "$est_name")
	[[ $1 != existing ]] || scope=(--watch-namespace default)
	arguments=(run --key-namespace devicecert-system ${scope[@]+"${scope[@]}"}
		--est-authority default/factory-root "${names[@]}"
		--est-label factory=default/factory --est-default default/factory
		--est-listen "$address:$est_port" --metrics-listen "127.0.0.1:$metrics_port")
}

apply_samples() {
	step "Sample objects: a 20-year root, an intermediate, a group with a password, a device in the cluster"
	kubectl apply --filename deploy/samples/quickstart.yaml | indent
	local leaving
	leaving=$(kubectl get --filename deploy/samples/quickstart.yaml --output json |
		jq -r '[.items[] | select(.metadata.deletionTimestamp) | "\(.kind) \(.metadata.name)"] | join(", ")')
	[[ -z $leaving ]] || die "somebody has deleted $leaving, which is only gone once nothing needs it (kubectl describe says what does); to start afresh: make down PURGE=1"
	await 120 "the CertificateAuthorities becoming Ready" kubectl wait --for=condition=Ready --timeout=1s dca/factory-root dca/factory-intermediate
	await 60 "the EnrollmentGroup becoming Ready" kubectl wait --for=condition=Ready --timeout=1s deg/factory
	await 60 "the certificate of gateway-1" kubectl wait --for=condition=Ready --timeout=1s did/gateway-1
	await 60 "EST becoming ready" curl -sf --max-time 5 "http://127.0.0.1:$metrics_port/readyz"
	# The root is the last certificate of the chain.
	kubectl get dca factory-root --output 'jsonpath={.status.chain}' |
		awk '/BEGIN CERTIFICATE/ { pem = "" } { pem = pem $0 "\n" } END { printf "%s", pem }' >"$state/est-ca.pem.new"
	mv "$state/est-ca.pem.new" "$state/est-ca.pem"
	note "all Ready; the root is in $short/est-ca.pem"
}

# Is the device's certificate the newest on its record, and good for a while?
device_is_enrolled() {
	local recorded own
	openssl x509 -in "$keys/certificate.pem" -noout -checkend 3600 >/dev/null 2>&1 || return 1
	recorded=$(kubectl get did "$device" --ignore-not-found --output 'jsonpath={.status.certificate.fingerprint}')
	own=$(openssl x509 -in "$keys/certificate.pem" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g')
	[[ -n $recorded && $recorded == "${own,,}" ]]
}

# strongSwan is noisy about plugins that it does not find; what matters is said after that.
quiet_pki() {
	pki "$@" 2>"$state/pki.log" || { grep -v -e 'plugin ' -e tcti "$state/pki.log" >&2 || true; }
}

enrol_with_strongswan() {
	typed "pki --gen --type ecdsa --size 256 --outform pem >$short_keys/key.pem"
	quiet_pki --gen --type ecdsa --size 256 --outform pem >"$keys/key.pem"
	typed "pki --req --in $short_keys/key.pem --type ecdsa --dn CN=$device >$short_keys/request.der"
	quiet_pki --req --in "$keys/key.pem" --type ecdsa --dn "CN=$device" >"$keys/request.der"
	typed "pki --est --url $est --cacert $short/est-ca.pem --userpass estuser:estpwd --in $short_keys/request.der --outform pem"
	quiet_pki --est --url "$est" --cacert "$state/est-ca.pem" --userpass estuser:estpwd --in "$keys/request.der" --outform pem >"$keys/certificate.new"
	openssl x509 -in "$keys/certificate.new" -noout 2>/dev/null || die "strongSwan's pki got no certificate; its output is above and in $state/pki.log, the operator's in $log"
}

# est_post PATH CURL-OPTION...: send a request (DER on stdin, base64 on the wire) and print the certificate, PEM.
est_post() {
	local path=$1 answer=$state/answer
	shift
	base64 -w0 | curl -sS --fail-with-body --max-time 30 --cacert "$state/est-ca.pem" "$@" \
		-H 'Content-Type: application/pkcs10' --data-binary @- -o "$answer" "$est/.well-known/est/$path" ||
		{ cat "$answer" >&2 && die "the EST server gave no certificate; see above, and $log"; }
	base64 -d "$answer" | openssl pkcs7 -inform DER -print_certs | sed -n '/BEGIN/,/END/p'
	rm -f "$answer"
}

enrol_with_curl() {
	note "(strongSwan's pki is not installed, so with curl)"
	typed "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $short_keys/key.pem -subj /CN=$device -outform DER -out $short_keys/request.der"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$keys/key.pem" -subj "/CN=$device" -outform DER -out "$keys/request.der" 2>/dev/null
	typed "base64 -w0 $short_keys/request.der | curl --cacert $short/est-ca.pem --user estuser:estpwd -H 'Content-Type: application/pkcs10' --data-binary @- $est/.well-known/est/simpleenroll | base64 -d | openssl pkcs7 -inform DER -print_certs"
	est_post simpleenroll --user estuser:estpwd <"$keys/request.der" >"$keys/certificate.new"
}

enrol() {
	if command -v pki >/dev/null; then enrol_with_strongswan; else enrol_with_curl; fi
	mv "$keys/certificate.new" "$keys/certificate.pem"
	note "got certificate $(openssl x509 -in "$keys/certificate.pem" -noout -serial | sed 's/serial=//'), valid until $(ends "$keys/certificate.pem")"
}

renew() {
	typed "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $short_keys/key.new -subj /CN=$device -outform DER -out $short_keys/request.der"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$keys/key.new" -subj "/CN=$device" -outform DER -out "$keys/request.der" 2>/dev/null
	typed "base64 -w0 $short_keys/request.der | curl --cacert $short/est-ca.pem --cert $short_keys/certificate.pem --key $short_keys/key.pem -H 'Content-Type: application/pkcs10' --data-binary @- $est/.well-known/est/factory/simplereenroll | base64 -d | openssl pkcs7 -inform DER -print_certs"
	est_post factory/simplereenroll --cert "$keys/certificate.pem" --key "$keys/key.pem" <"$keys/request.der" >"$keys/certificate.new"
	mv "$keys/key.new" "$keys/key.pem"
	mv "$keys/certificate.new" "$keys/certificate.pem"
	note "got certificate $(openssl x509 -in "$keys/certificate.pem" -noout -serial | sed 's/serial=//'), valid until $(ends "$keys/certificate.pem")"
}

ends() { openssl x509 -in "$1" -noout -enddate | sed 's/notAfter=//'; }

enrol_device() {
	keys=$state/$device
	short_keys=$short/$device
	local usual
	usual=$(umask)
	umask 077 # keys
	mkdir -p "$keys"
	if device_is_enrolled; then
		step "The device $device is enrolled already; its certificate is valid until $(ends "$keys/certificate.pem")"
		umask "$usual"
		return 0
	fi
	step "A device outside the cluster enrols: $device, with user name and password"
	enrol
	step "The device renews, with the certificate that it has and a new key"
	renew
	umask "$usual"
}

show_metrics() {
	local families='devicecert_(authority_expiration_timestamp_seconds|group_identities|group_next_expiration_timestamp_seconds|certificates_issued_total)'
	typed "curl -s http://127.0.0.1:$metrics_port/metrics | grep -E '^$families' | grep -v ' 0\$'"
	curl -s "http://127.0.0.1:$metrics_port/metrics" | grep -E "^$families" | grep -v ' 0$' | indent
}

group_is_counted() { [[ -n $(kubectl get deg factory --output 'jsonpath={.status.nextExpiry}') ]]; }

show() {
	step "What there is now"
	# The operator writes the counts of a group at most every ten seconds.
	await 20 "the group's counts" group_is_counted
	shown kubectl get devicecert
	typed "kubectl describe did $device        # shortened here"
	kubectl describe did "$device" | sed -n '/^Status:/,$p' | sed '/^ *Pem:/,/^ *$/d' | indent
	typed "kubectl describe did gateway-1 | sed -n '/^Events:/,\$p'"
	kubectl describe did gateway-1 | sed -n '/^Events:/,$p' | indent
	shown kubectl describe secret gateway-1-tls
	shown openssl x509 -in "$short_keys/certificate.pem" -noout -subject -issuer -serial -dates -ext keyUsage,extendedKeyUsage
	show_metrics
}

write_env() {
	{
		echo "# Source this: kubectl then speaks with the quickstart's cluster, and knows the plugin devicecert."
		# shellcheck disable=SC2016 # $PATH is for the shell that reads this
		printf 'export KUBECONFIG=%q\nexport PATH=%q:%q:"$PATH"\n' "$state/kubeconfig" "$programs" "$DEVICECERT_TOOLS"
	} >"$state/env"
}

farewell() {
	step "Everything runs. It keeps running until: make down"
	cat <<END

    export KUBECONFIG=$(printf %q "$state/kubeconfig")
    . $(printf %q "$short/env")       # the same, with kubectl and kubectl devicecert on PATH

    EST       $est/.well-known/est/factory and $est/.well-known/est, user estuser, password estpwd
              trust anchor $short/est-ca.pem
    metrics   http://127.0.0.1:$metrics_port/metrics
    log       $short/operator.log

    Next: the five-minute tour in README.md.
END
}

up() {
	mkdir -p "$state"
	exec 9>"$state/lock"
	flock --nonblock 9 || die "another quickstart is at work in $short"
	trap 'printf "\ninterrupted: make quickstart goes on from here, make down stops what runs already\n" >&2; exit 130' INT TERM
	step "Programs: what is missing is installed, or built once"
	eval "$(hack/setup.sh --print-env || echo exit 1)"
	note "there, in $DEVICECERT_TOOLS"
	operator_pid >/dev/null || require_ports # now rather than after the build
	if [[ $1 == existing ]]; then use_existing_cluster; else start_own_cluster; fi
	build_operator
	write_env
	apply_crds "$1"
	operator_arguments "$1"
	step "The operator"
	start_operator
	apply_samples
	enrol_device
	show
	farewell
}

down() {
	[[ -d $state ]] || { say "there is nothing to stop: no $short" && return 0; }
	exec 9>"$state/lock"
	flock --nonblock 9 || die "a quickstart is at work in $short; stop that first"
	local mode=none
	[[ ! -s $state/mode ]] || mode=$(cat "$state/mode")
	[[ "$1 $mode" != "purge existing cluster" ]] || delete_samples
	stop_operator
	say "operator: down"
	if [[ -d $state/cluster ]]; then tests/cluster/cluster down "$state/cluster"; fi
	[[ "$1 $mode" != "keep existing cluster" ]] ||
		say "The quickstart's objects are still in your cluster. To delete them, start the quickstart again, then: make down PURGE=1"
	[[ $1 != purge ]] || remove_local "$mode"
}

# From a cluster that was not started here, while the operator is there to let go of what it protects.
delete_samples() {
	operator_pid >/dev/null || die "the operator does not run, so nothing that it protects could be deleted: start the quickstart again first"
	eval "$(hack/setup.sh --print-env || echo exit 1)"
	export KUBECONFIG=$state/kubeconfig
	say "deleting what the quickstart made in the cluster of $short/kubeconfig …"
	kubectl delete did "$device" --ignore-not-found >&2
	kubectl delete --filename deploy/samples/quickstart.yaml --ignore-not-found --timeout=60s >&2 ||
		die "other objects still need these (kubectl describe deg,dca says which); delete them and try again"
	say "The CRDs and the CA keys (Secrets in devicecert-system) are left; they may serve other objects."
}

# Only a folder that the quickstart made, so that a wrong DEVICECERT_LOCAL deletes nothing else.
remove_local() {
	rm -f "$state/lock"
	[[ $1 == none ]] || rm -rf "${state:?}"
	[[ ! -d $state ]] || rmdir "$state" 2>/dev/null || die "$short has files that are not the quickstart's, so it stays"
	say "$short: removed"
}

[[ $est_port =~ ^[0-9]{1,5}$ ]] || die "EST_PORT=$est_port is not a port"
[[ $metrics_port =~ ^[0-9]{1,5}$ ]] || die "METRICS_PORT=$metrics_port is not a port"
case "$*" in
'') up own ;;
--existing-cluster) up existing ;;
down) down keep ;;
'down --purge') down purge ;;
-h | --help) usage ;;
*) usage >&2 && exit 2 ;;
esac
