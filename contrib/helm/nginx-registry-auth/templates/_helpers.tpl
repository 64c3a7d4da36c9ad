{{- define "gate.name" -}}
{{- printf "%s-gate" .Release.Name | trunc 63 | trimSuffix "-" -}}
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
