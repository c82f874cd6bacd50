#!/usr/bin/env bash
# Renders from the Helm chart what people without Helm apply, and copies the alerts. tests/chart/check.sh compares.
set -euo pipefail

usage() {
	cat <<'END'
usage: deploy/render.sh [DIR]
  Writes install/devicecert-operator.yaml and prometheus/rules.yaml below DIR; default: deploy/ itself.
  Needs helm: eval "$(hack/setup.sh --print-env)"
END
}

[[ $# -le 1 && ${1:-} != -* ]] || { usage >&2 && exit 2; }
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${1:-$repo/deploy}
chart=$repo/charts/devicecert-operator
manifest=$target/install/devicecert-operator.yaml
command -v helm >/dev/null || { echo "render.sh: error: helm is not on PATH; hack/setup.sh --print-env says how to get it" >&2 && exit 1; }

mkdir -p "$target/install" "$target/prometheus"

# Settings that fit deploy/samples/quickstart.yaml.
settings=(
	--set crds.enabled=false
	--set est.authority=default/factory-root
	--set est.labels.factory=default/factory
	--set est.default=default/factory
)

{
	cat <<'END'
# devicecert-operator without Helm. Rendered from charts/devicecert-operator by deploy/render.sh: do not edit, render.
#
#   kubectl apply -f crds/
#   kubectl apply -f deploy/install/
#   kubectl apply -f deploy/samples/quickstart.yaml
#
# Change before you apply: the image (none is published yet; build one with the Dockerfile) and the --est-… arguments,
# which fit the quickstart's CA and group. The operator serves all namespaces here and so may read and write all Secrets;
# the chart's watchNamespaces gives it some namespaces only.
apiVersion: v1
kind: Namespace
metadata:
  name: devicecert-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
END
	# Nothing here is Helm's to manage, so its marks go.
	helm template devicecert-operator "$chart" --namespace devicecert-system "${settings[@]}" |
		sed -e '/^ *app.kubernetes.io\/managed-by: Helm$/d' -e '/^ *helm.sh\/chart: /d' -e '/^# Source: /d'
} >"$manifest.new"
mv "$manifest.new" "$manifest"
cp "$chart/files/rules.yaml" "$target/prometheus/rules.yaml"
