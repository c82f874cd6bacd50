{{- define "devicecert.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 50 characters: the names of Services are this one and a suffix, and may have 63. */}}
{{- define "devicecert.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "devicecert.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "devicecert.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "devicecert.selectorLabels" -}}
app.kubernetes.io/name: {{ include "devicecert.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "devicecert.labels" -}}
{{ include "devicecert.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "devicecert.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "devicecert.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "devicecert.keyNamespace" -}}
{{- default .Release.Namespace .Values.keyNamespace }}
{{- end }}

{{- define "devicecert.estService" -}}
{{- printf "%s-est" (include "devicecert.fullname" .) }}
{{- end }}

{{- define "devicecert.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The probes of a container; the argument is the name of the port. */}}
{{- define "devicecert.probes" -}}
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ . }}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet:
    path: /healthz
    port: {{ . }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "devicecert.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Settings that contradict each other, in words. */}}
{{- define "devicecert.validate" -}}
{{- $keys := include "devicecert.keyNamespace" . }}
{{- if has $keys .Values.watchNamespaces }}
{{- fail (printf "watchNamespaces contains %q, where the CA keys are: keep devices out of that namespace, or set keyNamespace to another one" $keys) }}
{{- end }}
{{- $est := .Values.est }}
{{- if and (not $est.authority) (or $est.labels $est.default $est.dnsNames) }}
{{- fail "est.labels, est.default and est.dnsNames have no effect without est.authority: set it to the CertificateAuthority (namespace/name) that issues the EST server's certificate" }}
{{- end }}
{{- if .Values.watchNamespaces }}
{{- range compact (concat (list $est.authority $est.default) (values $est.labels)) }}
{{- $namespace := splitList "/" . | first }}
{{- if not (has $namespace $.Values.watchNamespaces) }}
{{- fail (printf "est refers to %q, but watchNamespaces does not contain %q: add it" . $namespace) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
