{{- /* "gate" comes first: Kubernetes names variables after each Service, for all pods of its namespace, and a
registry reads those that begin with REGISTRY_ as its configuration. REGISTRY_AUTH_GATE_PORT, of a release
"registry-auth", would stop it. */ -}}
{{- define "gate.name" -}}
{{- printf "gate-%s" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gate.selector" -}}
app.kubernetes.io/name: nginx-registry-auth
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gate.labels" -}}
{{ include "gate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
