#!/usr/bin/env bash
# Installs or builds everything that the build, the tests and the quickstart need, once; a warm run takes under a second.
#
# Needs Rust, Go (1.26 or newer) and Python 3, and apt for what is missing besides. It writes nothing into the
# repository: the programs that it builds (a real Kubernetes API server, etcd, kubectl, Helm) go into a cache, in
# folders named after their exact sources and Go version.
set -euo pipefail

usage() {
	cat <<'EOF'
usage: hack/setup.sh [--print-env] [--with-controller-manager] [--with-node]
  --print-env                print `export` lines for the shell: eval "$(hack/setup.sh --print-env)"
  --with-controller-manager  kube-controller-manager even where KUBEBUILDER_ASSETS has none
  --with-node                kubelet, kube-scheduler and kube-proxy too
environment:
  KUBEBUILDER_ASSETS  a folder with kube-apiserver, etcd and kubectl (Kubernetes 1.33 or newer) to use instead of building them
  XDG_CACHE_HOME      the cache is devicecert/ in there; default ~/.cache
EOF
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=hack/lib.sh
. "$repo/hack/lib.sh"

print_env='' want_kcm='' want_node=''
for arg; do
	case $arg in
	--print-env) print_env=1 ;;
	--with-controller-manager) want_kcm=1 ;;
	--with-node) want_node=1 ;;
	-h | --help) usage && exit ;;
	*) usage >&2 && die "unknown option: $arg" ;;
	esac
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/devicecert
tools_src=$repo/tests/cluster/tools
mkdir -p "$cache/bin"

# ---- cleaning up, waiting -------------------------------------------------------------------------------------------

scratch='' ticker=''
cleanup() {
	[[ -z $ticker ]] || kill "$ticker" 2>/dev/null || true
	[[ -z $scratch ]] || rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Before the first slow step: one setup at a time, so that two of them neither build twice nor fight over apt.
# The second one finds everything done when its turn comes, because every step looks again.
lock() {
	[[ -z $scratch ]] || return 0
	exec 9>"$cache/lock"
	flock --nonblock 9 || { say "setup: another hack/setup.sh is at work; waiting for it …" && flock 9; }
	scratch=$(mktemp -d "$cache/bin/.tmp.XXXXXX") # beside the results, so that a rename moves them there
}

# step WHAT COMMAND...: run a slow command with its output in a log, telling the elapsed time; show the log if it fails.
step() {
	local what=$1 start=$SECONDS log=$cache/setup.log
	shift
	say "setup: $what"
	# (the sleep may outlive us, so it must not keep open what our caller reads)
	{ while sleep 20 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do say "setup:   … $((SECONDS - start)) s"; done; } 9>&- &
	ticker=$!
	if ! "$@" >"$log" 2>&1 9>&-; then
		tail -n 25 "$log" >&2
		die "that failed; the end of its output is above, all of it in $log"
	fi
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	ticker=''
	say "setup:   done in $((SECONDS - start)) s"
}

# ---- programs from Debian -------------------------------------------------------------------------------------------

as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

apt_update() { as_root apt-get -o DPkg::Lock::Timeout=300 update; }
apt_install() {
	# No lists yet (a fresh container image), or lists that name versions which are gone: update, then try again.
	local install=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@")
	as_root "${install[@]}" || { apt_update && as_root "${install[@]}"; }
}

need_debian_packages() {
	local missing=() commands=() pair
	# command:package
	for pair in openssl:openssl curl:curl jq:jq pki:strongswan-pki cc:gcc ss:iproute2; do
		command -v "${pair%:*}" >/dev/null || { commands+=("${pair%:*}") && missing+=("${pair#*:}"); }
	done
	[[ " ${missing[*]} " != *" gcc "* ]] || missing+=(libc6-dev)
	# strongSwan's OpenSSL plugin is what teaches `pki` elliptic curves; looked for where Debian puts it.
	if command -v dpkg-query >/dev/null && ! dpkg-query --status libstrongswan-standard-plugins >/dev/null 2>&1; then
		missing+=(libstrongswan-standard-plugins) commands+=("pki's OpenSSL plugin")
	fi
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null || die "not installed: ${commands[*]}; there is no apt here, so install them yourself and run this again"
	((EUID == 0)) || command -v sudo >/dev/null || die "not installed: ${commands[*]}; as root, run: apt-get install ${missing[*]}"
	lock
	step "installing ${missing[*]} with apt … up to a minute, once" apt_install "${missing[@]}"
}

# Debian's `prometheus` package also sets up a daemon that listens on port 9090, and this project only needs the
# package's promtool: take that one program out of it instead of installing it. apt checks the signature as always.
unpack_promtool() (
	cd "$scratch"
	apt-get download prometheus || { apt_update && apt-get download prometheus; }
	dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool
	chmod +x promtool && ./promtool --version
	mkdir -p "$cache/bin/promtool" && mv promtool "$cache/bin/promtool/promtool"
)

promtool_path() { # prints nothing where there is none
	if [[ -x $cache/bin/promtool/promtool ]]; then echo "$cache/bin/promtool/promtool"; else realpath "$(command -v promtool)" 2>/dev/null || true; fi
}

need_promtool() {
	[[ -z $(promtool_path) ]] || return 0
	command -v apt-get >/dev/null || die "promtool (of Prometheus) is not installed; there is no apt here, so install it yourself and run this again"
	lock
	[[ -n $(promtool_path) ]] || step "fetching promtool … some seconds, once" unpack_promtool
}

# ---- programs built from Go modules ---------------------------------------------------------------------------------

declare -A ldflags=() # of each family: what its own release build puts into the programs, mostly the version
family_dir() { # a different source, Go or machine type is a different folder
	local key
	key=$({ cat "$tools_src/$1/go.mod" "$tools_src/$1/go.sum" && echo "$go_id ${ldflags[$1]:-}"; } | sha256sum)
	echo "$cache/bin/$1-${key:0:16}"
}

# The pinned module's own version: `module_version kubernetes k8s.io/kubernetes` prints v1.36.3.
module_version() { sed -nE "s|^(require)?[[:space:]]*$2 (v[0-9.]+)( //.*)?\$|\2|p" "$tools_src/$1/go.mod"; }

go_build() ( # FAMILY PACKAGE... ; without cgo: static programs, and no C compiler needed
	cd "$tools_src/$1"
	mkdir -p "$scratch/$1"
	CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w ${ldflags[$1]:-}" -o "$scratch/$1/" "${@:2}"
)

# build FAMILY WHAT PACKAGE...: build those of the packages' programs that are not in the cache.
build() {
	local family=$1 what=$2 dir package todo=()
	shift 2
	dir=$(family_dir "$family")
	for package; do [[ -x $dir/$(program "$package") ]] || todo+=("$package"); done
	((${#todo[@]})) || return 0
	if [[ -z $scratch ]]; then
		lock
		build "$family" "$what" "$@" # somebody else may have built it while we waited
		return
	fi
	step "building $what, once" go_build "$family" "${todo[@]}"
	mkdir -p "$dir"
	for package in "${todo[@]}"; do # a rename: whoever finds a program there finds all of it
		mv "$scratch/$family/$(built_as "$package")" "$dir/$(program "$package")"
	done
}

built_as() { local p=${1%/v[0-9]}; echo "${p##*/}"; } # go names a program after its package …
program() { if [[ $1 == go.etcd.io/etcd/server/v3 ]]; then echo etcd; else built_as "$1"; fi; }

# ---- what is needed -------------------------------------------------------------------------------------------------

for need in cargo:Rust go:Go python3:Python; do
	command -v "${need%:*}" >/dev/null || die "${need#*:} is not installed (no '${need%:*}' on PATH); see the README for what this project needs"
done
need_debian_packages
for component in rustfmt cargo-clippy; do # the command can be there as rustup's stand-in, so run it
	"$component" --version >/dev/null 2>&1 && continue
	command -v rustup >/dev/null || die "$component is not installed, and there is no rustup here to add it"
	lock
	step "adding ${component#cargo-} with rustup" rustup component add "${component#cargo-}"
done
need_promtool

go_id=$(go env GOVERSION GOOS GOARCH)
k8s=$(module_version kubernetes k8s.io/kubernetes)
[[ -n $k8s ]] || die "found no version of k8s.io/kubernetes in $tools_src/kubernetes/go.mod"
IFS=. read -r k8s_major k8s_minor _ <<<"${k8s#v}"
version=k8s.io/component-base/version
ldflags[kubernetes]="-X $version.gitVersion=$k8s -X $version.gitMajor=$k8s_major -X $version.gitMinor=$k8s_minor"
# Left alone, Helm would render and lint for Kubernetes 1.20 where it has no cluster to ask.
helm=helm.sh/helm/v3
ldflags[helm]="-X $helm/internal/version.version=$(module_version helm $helm)"
for package in pkg/chartutil pkg/lint/rules; do
	ldflags[helm]+=" -X $helm/$package.k8sVersionMajor=$k8s_major -X $helm/$package.k8sVersionMinor=$k8s_minor"
done
cmd=k8s.io/kubernetes/cmd

assets=${KUBEBUILDER_ASSETS:-}
assets=${assets:+$(realpath -m "$assets")}
packages=()
if [[ -n $assets ]]; then
	for name in kube-apiserver etcd kubectl; do
		[[ -x $assets/$name ]] || die "KUBEBUILDER_ASSETS is $assets, but there is no program $name in there"
	done
	[[ -z $want_kcm || -x $assets/kube-controller-manager ]] || packages+=("$cmd/kube-controller-manager")
else
	packages+=("$cmd/kube-apiserver" "$cmd/kubectl" "$cmd/kube-controller-manager")
	build etcd "etcd … about half a minute" go.etcd.io/etcd/server/v3
fi
build helm "helm … one to two minutes on two idle cores" "$helm/cmd/helm"
[[ -z $want_node ]] || packages+=("$cmd/kubelet" "$cmd/kube-scheduler" "$cmd/kube-proxy")
build kubernetes "Kubernetes $k8s's programs … about 6 minutes on two idle cores" "${packages[@]}"

# ---- one folder with all of them ------------------------------------------------------------------------------------

links=("$(promtool_path)" "$(family_dir helm)/helm")
for package in ${packages[@]+"${packages[@]}"}; do links+=("$(family_dir kubernetes)/$(program "$package")"); done
if [[ -n $assets ]]; then
	for name in kube-apiserver etcd kubectl kube-controller-manager; do
		[[ ! -x $assets/$name ]] || links+=("$assets/$name")
	done
else
	links+=("$(family_dir etcd)/etcd")
fi
# Named after the set of programs, so that two checkouts with different versions do not disturb each other.
key=$(printf '%s\n' "${links[@]}" | sha256sum)
tools=$cache/tools/${key:0:16}
mkdir -p "$tools"
for target in "${links[@]}"; do
	[[ $(readlink "$tools/${target##*/}") == "$target" ]] || ln -sfn "$target" "$tools/${target##*/}"
done

if [[ -n $print_env ]]; then
	# shellcheck disable=SC2016 # $PATH is for the shell that evaluates this
	printf 'export DEVICECERT_TOOLS=%q\nexport PATH=%q:"$PATH"\n' "$tools" "$tools"
else
	say "setup: everything is there; the programs are in $tools"
fi
