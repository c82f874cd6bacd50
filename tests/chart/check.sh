#!/usr/bin/env bash
# Checks the Helm chart, the plain manifests, the samples, the alerts and the dashboard: with helm, promtool and a real
# API server. Says each thing that is wrong, and fails if there is one.
set -euo pipefail

usage() {
	cat <<'END'
usage: tests/chart/check.sh
environment:
  KUBECONFIG  an API server for tests, on the loopback address; it gets the CRDs and a namespace devicecert-chart-check,
              and nothing else that stays. Without KUBECONFIG a server is started and thrown away again.
END
}

[[ $# == 0 ]] || { usage >&2 && exit 2; }
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=hack/lib.sh
. "$repo/hack/lib.sh"
cd "$repo"
chart=charts/devicecert-operator
all=tests/chart/all-options.values.yaml
namespace=devicecert-chart-check
metrics=(src/metrics.rs src/metrics/*.rs src/run/front_metrics.rs)

if [[ -z ${DEVICECERT_TOOLS:-} ]]; then eval "$(hack/setup.sh --print-env || echo exit 1)"; fi
PATH=$DEVICECERT_TOOLS:$PATH
scratch=$(mktemp -d)
export HELM_CACHE_HOME=$scratch/helm HELM_CONFIG_HOME=$scratch/helm HELM_DATA_HOME=$scratch/helm

if [[ -z ${KUBECONFIG:-} ]]; then
	trap 'wait; tests/cluster/cluster down "$scratch/cluster" 2>/dev/null; rm -rf "$scratch"' EXIT
	tests/cluster/cluster up "$scratch/cluster" --with-parent $$ 2>"$scratch/cluster.out" & # the first checks need none
	starting=$!
	export KUBECONFIG=$scratch/cluster/kubeconfig
else
	trap 'rm -rf "$scratch"' EXIT
	server=$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
	[[ $server =~ ^https://(127\.0\.0\.1|localhost|\[::1\]): ]] || die "KUBECONFIG leads to ${server:-no server}, which is not on the loopback address: this check installs CRDs, so it only runs against a server for tests"
fi

# ---- how checks are run ---------------------------------------------------------------------------------------------

failed=0
# check WHAT COMMAND...: run it; tell its output if it fails.
check() {
	local what=$1
	shift
	if "$@" >"$scratch/out" 2>&1; then
		say "ok    $what"
	else
		say "FAIL  $what"
		sed 's/^/      /' "$scratch/out" >&2
		failed=$((failed + 1))
	fi
}

# refused WORDS HELM-ARGUMENT...: the chart must refuse these values, and say so in these words.
refused() {
	local words=$1
	shift
	if helm template trial "$chart" --namespace "$namespace" "$@" >"$scratch/refused" 2>&1; then
		echo "accepted, but should not be: $*" && return 1
	fi
	grep -qF -- "$words" "$scratch/refused" || { echo "refused, but not with the words '$words':" && cat "$scratch/refused" && return 1; }
}

render() { helm template trial "$chart" --namespace "$namespace" "$@"; }

# accepted FILE...: the API server takes these objects as they are, without a warning. Nothing is stored.
accepted() {
	local files=("${@/#/--filename=}")
	kubectl apply --server-side --force-conflicts --dry-run=server --warnings-as-errors --validate=strict "${files[@]}"
}

# ---- helm -----------------------------------------------------------------------------------------------------------

check "helm lint: default values" helm lint --strict --quiet "$chart"
check "helm lint: every option" helm lint --strict --quiet "$chart" --values "$all"

every_value_is_in_the_all_options_file() {
	# A value that the file leaves out is a value that no check here ever sets.
	local value
	while read -r value; do
		grep -qE "^$value:" "$all" || { echo "$all does not set $value" && return 1; }
	done < <(sed -nE 's/^([a-zA-Z]+):.*/\1/p' "$chart/values.yaml" | grep -v '^nameOverride$')
}
check "the all-options file sets every value" every_value_is_in_the_all_options_file

check "refused: a misspelled value" refused watchNamespace --set 'watchNamespace={a}'
check "refused: a misspelled value further in" refused authorty --set est.authorty=a/b
check "refused: an authority without a namespace" refused authority --set est.authority=factory-root
check "refused: concurrency 0" refused concurrency --set concurrency=0
check "refused: an unknown log format" refused logFormat --set logFormat=xml
check "refused: a validity in words" refused validity --set 'est.validity=a year'
check "refused: a label with a dot" refused labels --set est.authority=a/b --set 'est.labels.a\.b=a/b'
check "refused: a label that is an EST operation" refused labels --set est.authority=a/b --set est.labels.cacerts=a/b
check "refused: devices beside the CA keys" refused "where the CA keys are" --set "watchNamespaces={$namespace}"
check "refused: EST settings without EST" refused "without est.authority" --set est.default=a/b
check "refused: EST for a namespace that is not watched" refused 'does not contain "a"' --set est.authority=a/b --set 'watchNamespaces={c}'

# ---- copies and generated files -------------------------------------------------------------------------------------

rendered_files_are_fresh() {
	deploy/render.sh "$scratch/deploy"
	local file
	for file in install/devicecert-operator.yaml prometheus/rules.yaml; do
		diff -u "deploy/$file" "$scratch/deploy/$file" || { echo "run: deploy/render.sh" && return 1; }
	done
}
check "deploy/ is what the chart renders" rendered_files_are_fresh
crds_are_copies() { diff -ur crds "$chart/files/crds" || { echo "run: make crds" && return 1; }; }
check "the chart's CRDs are those of crds/" crds_are_copies

# ---- alerts and dashboard -------------------------------------------------------------------------------------------

check "promtool: the alerts parse" promtool check rules "$chart/files/rules.yaml"
check "promtool: each alert fires, and is silent when all is well" promtool test rules tests/chart/rules.test.yaml

dashboard_queries_parse() {
	# As recording rules, with Grafana's variables filled in; promtool knows no other way to check an expression.
	jq '{groups: [{name: "dashboard", rules: [.. | .expr? // empty
		| gsub("\\$__rate_interval"; "5m") | gsub("\\$(namespace|group)"; ".*")] | to_entries
		| map({record: "panel:\(.key)", expr: .value})}]}' deploy/grafana/devicecert.json >"$scratch/dashboard.json" &&
		jq -e '.groups[0].rules | length > 20' "$scratch/dashboard.json" >/dev/null &&
		promtool check rules "$scratch/dashboard.json"
}
check "promtool: the dashboard's queries parse" dashboard_queries_parse

metrics_exist() {
	local name missing=0
	while read -r name; do
		grep -qF "\"$(sed -E 's/_seconds_(bucket|count|sum)$/_seconds/' <<<"$name")\"" "${metrics[@]}" || { echo "$name is not in src/metrics" && missing=1; }
	done < <(grep -ohE '\bdevicecert_[a-z_]+\b' "$chart/files/rules.yaml" deploy/grafana/devicecert.json deploy/prometheus/README.md | sort -u)
	return $missing
}
check "alerts and dashboard use metrics that exist" metrics_exist

alerts_are_explained() {
	local alert
	while read -r alert; do
		grep -q "runbook: docs/alerts.md#${alert,,}\$" "$chart/files/rules.yaml" || { echo "$alert has no runbook" && return 1; }
		grep -qx "## $alert" deploy/prometheus/README.md || { echo "deploy/prometheus/README.md has no section $alert" && return 1; }
	done < <(sed -nE 's/.*- alert: //p' "$chart/files/rules.yaml")
}
check "each alert has its section in the runbook" alerts_are_explained

# ---- a real API server ----------------------------------------------------------------------------------------------

[[ -z ${starting:-} ]] || wait "$starting" || { cat "$scratch/cluster.out" >&2 && die "no API server to check against"; }

prepare_server() {
	kubectl apply --server-side --force-conflicts --warnings-as-errors -f crds -f tests/chart/monitoring-crds.yaml -f - <<-END
		apiVersion: v1
		kind: Namespace
		metadata:
		  name: $namespace
		  labels: {pod-security.kubernetes.io/warn: restricted}
	END
	kubectl wait --for=condition=Established --timeout=30s -f crds -f tests/chart/monitoring-crds.yaml
}
check "API server: takes the CRDs without a warning" prepare_server

render >"$scratch/default.yaml"
render --set est.authority=default/factory-root --set crds.enabled=false >"$scratch/est.yaml"
render --values "$all" >"$scratch/all.yaml"
sed "s/devicecert-system/$namespace/; s/enforce: restricted/warn: restricted/" deploy/install/devicecert-operator.yaml >"$scratch/plain.yaml"
# (the namespace warns about a pod that is not restricted, and a warning is an error here)
check "API server: takes the chart with default values" accepted "$scratch/default.yaml"
check "API server: takes the chart with EST" accepted "$scratch/est.yaml"
check "API server: takes the chart with every option" accepted "$scratch/all.yaml"
check "API server: takes deploy/install" accepted "$scratch/plain.yaml"
check "API server: takes deploy/samples" accepted deploy/samples

# Only on a server of our own: what is taken over is deleted at the end.
helm_takes_over_plain_manifests() {
	local install=(helm install devicecert-operator "$chart" --namespace "$namespace" --set crds.enabled=false --set est.authority=default/factory-root)
	kubectl apply -f "$scratch/plain.yaml" || return 1
	! "${install[@]}" 2>"$scratch/refused" || { echo "helm install took over what is not its own" && return 1; }
	grep -F 'invalid ownership metadata' "$scratch/refused" || return 1
	"${install[@]}" --take-ownership && helm upgrade devicecert-operator "$chart" --namespace "$namespace" --reuse-values || return 1
	helm uninstall devicecert-operator --namespace "$namespace"
}
[[ -z ${starting:-} ]] || check "API server: helm takes over deploy/install, as docs/operations.md says" helm_takes_over_plain_manifests

crds_are_kept() {
	local kept
	kept=$(grep -c 'helm.sh/resource-policy: keep' "$scratch/default.yaml")
	[[ $kept == 5 ]] || { echo "$kept CRDs have resource-policy keep; 5 should" && return 1; }
	! grep 'helm.sh/resource-policy' "$scratch/all.yaml" || { echo "crds.keep=false keeps CRDs" && return 1; }
	! grep 'kind: CustomResourceDefinition' "$scratch/est.yaml" || { echo "crds.enabled=false installs CRDs" && return 1; }
}
check "crds.enabled and crds.keep do what they say" crds_are_kept

crds_are_unchanged() { # by the way through Helm's YAML reader and writer
	local name
	for name in crds/*.yaml; do
		kubectl create --dry-run=client --validate=false -o json -f "$name"
	done | jq -sS 'sort_by(.metadata.name)' >"$scratch/crds.json"
	render --set crds.keep=false --show-only templates/crds.yaml | kubectl create --dry-run=client --validate=false -o json -f - |
		jq -sS '[.[] | .items[]? // .] | sort_by(.metadata.name)' | diff "$scratch/crds.json" -
}
check "the CRDs come through Helm unchanged" crds_are_unchanged

notes_tell_the_truth() {
	# (only `install` shows the notes; it looks for the kinds and for objects of others, even if it shall do nothing)
	local notes=(helm install trial "$chart" --namespace "$namespace" --dry-run=client --take-ownership) default all_options
	default=$("${notes[@]}") && all_options=$("${notes[@]}" --values "$all") || return 1
	[[ $default == *"EST is not served"* ]] || { echo "nothing says that EST is not served" && return 1; }
	[[ $default == *"No image is published"* && $all_options != *"No image is published"* ]] || { echo "the note on the image is missing, or there although another is named" && return 1; }
	[[ $all_options == *"default/factory: /.well-known/est/factory"* ]] || { echo "the labels are missing" && return 1; }
	[[ $all_options == *"WARNING: crds.keep is false"* ]] || { echo "the warning about crds.keep is missing" && return 1; }
}
check "the notes tell the truth" notes_tell_the_truth

flags_exist() {
	# Each flag of the operator has an environment variable that follows from its name, and clap is told of it in words.
	local flag
	while read -r flag; do
		flag=DEVICECERT_${flag//-/_}
		grep -qF "\"${flag^^}\"" src/cli.rs src/cli/*.rs src/est/limits.rs || { echo "src/cli has no flag for ${flag^^}, but the chart uses it" && return 1; }
	done < <(sed -nE 's/^ +- --([a-z-]+)=.*/\1/p' "$scratch/all.yaml" | grep -v an-option-that-is-new | sort -u)
}
check "the chart uses flags that exist" flags_exist

est_holds_nothing() { # FILE: of the two containers, only the controller has credentials
	local pod
	pod=$(kubectl create --dry-run=client --validate=false -o json -f "$1" | jq '(.items[]? // .) | select(.kind == "Deployment").spec.template.spec') && [[ -n $pod ]] || { echo "there is no Deployment" && return 1; }
	jq -e '
		(.containers | map({key: .name, value: .}) | from_entries) as {$controller, $est}
		| def all(f): [f] | length > 0 and all;
		  (.automountServiceAccountToken == false)
		and (.initContainers == null)
		and ($est.env == null and $est.envFrom == null)
		and ([$est.volumeMounts[] | {name, readOnly}] == [{name: "run", readOnly: true}])
		and (.volumes | map(select(.name == "run")) == [{name: "run", emptyDir: {medium: "Memory", sizeLimit: "1Mi"}}])
		and ([.volumes[] | select(.secret != null)] == [])
		and ([.volumes[] | select(.projected != null).name] == ["credentials"])
		and ($controller.volumeMounts | map(.name) | sort == ["credentials", "run"])
		and ($est.securityContext.runAsUser != $controller.securityContext.runAsUser)
		and ($controller.args | index("--est-uid=\($est.securityContext.runAsUser)") != null)
		and ($est.args | index("--controller-uid=\($controller.securityContext.runAsUser)") != null)
		and all($controller, $est | .securityContext | .allowPrivilegeEscalation == false and .readOnlyRootFilesystem
			and .capabilities.drop == ["ALL"])
		and all($controller, $est | .readinessProbe.httpGet.path == "/readyz" and .livenessProbe.httpGet.path == "/healthz")
		and ([$est.ports[].containerPort] == [8443, 9091] and [$controller.ports[].containerPort] == [9090])
	' <<<"$pod" >/dev/null || { jq . <<<"$pod" && return 1; }
}
check "est has no token, no Secret, no environment and a user of its own" est_holds_nothing "$scratch/est.yaml"
check "the same with every option" est_holds_nothing "$scratch/all.yaml"
check "the same in deploy/install" est_holds_nothing "$scratch/plain.yaml"

no_est_no_container() {
	! grep -E 'name: (est|est-metrics|run)$' "$scratch/default.yaml" || { echo "there are parts of EST, although no authority is named" && return 1; }
}
check "without an authority there is no est container" no_est_no_container

one_replica_has_no_budget() {
	grep -q 'kind: PodDisruptionBudget' "$scratch/default.yaml" || { echo "two replicas have no PodDisruptionBudget" && return 1; }
	! render --set replicas=1 | grep 'kind: PodDisruptionBudget' || { echo "one replica has a PodDisruptionBudget, which keeps its node from being drained" && return 1; }
}
check "more than one replica has a PodDisruptionBudget" one_replica_has_no_budget

permissions() { # FILE: one line for each permission that the objects of the file give
	kubectl apply --server-side --force-conflicts --dry-run=server -o json -f "$1" | jq -rs '
		def where: if .metadata.namespace then "\(.metadata.namespace)/\(.metadata.name)" else .metadata.name end;
		.[] | (.items[]? // .)
		| if .kind | test("Role$") then . as $role | .rules[] | . as $rule | .apiGroups[] as $group | .resources[]
			| "\($role.kind) \($role | where): \(.).\($group) \($rule.verbs | join(" "))"
		  elif .kind | test("RoleBinding$") then
			"\(.kind) \(where): \(.roleRef.kind) \(.roleRef.name) to \(.subjects | map("\(.namespace)/\(.name)") | join(" "))"
		  else empty end' | LC_ALL=C sort
}
permissions_are_these() {
	permissions "$scratch/all.yaml" >"$scratch/permissions"
	permissions "$scratch/default.yaml" >>"$scratch/permissions"
	diff -u <(grep -v '^#' tests/chart/permissions.txt) "$scratch/permissions"
}
check "the operator's permissions are exactly those in permissions.txt" permissions_are_these

only_the_operator_writes_status() { # every Deployment's account, and nobody else but those who are listed
	local file account
	for file in default est all plain; do
		account=$(kubectl create --dry-run=client --validate=false -o json -f "$scratch/$file.yaml" |
			jq -r '(.items[]? // .) | select(.kind == "Deployment") | "system:serviceaccount:\(.metadata.namespace):\(.spec.template.spec.serviceAccountName)"')
		grep -F "request.userInfo.username in [\"$account\"" "$scratch/$file.yaml" || { echo "$file: $account, which the pod runs as, may not write status" && return 1; }
	done
	! render --set statusPolicy.enabled=false | grep 'name: .*-status$' || { echo "statusPolicy.enabled=false leaves the policy there" && return 1; }
}
check "only the operator's account writes status" only_the_operator_writes_status

odd_names_are_stored() { # the API server compiles the CEL of a policy when it is stored, not when it is checked
	render --set 'statusPolicy.users={it'"'"'s "odd"}' --show-only templates/statuspolicy.yaml >"$scratch/status.yaml"
	kubectl apply --filename "$scratch/status.yaml" --warnings-as-errors && kubectl delete --filename "$scratch/status.yaml"
}
check "API server: stores the policy for status, odd names and all" odd_names_are_stored

((failed == 0)) || die "$failed of the checks above failed"
say "chart: all is well"
