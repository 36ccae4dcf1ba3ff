{{- /* Name of everything in this release. */ -}}
{{- define "dashboard-refresh.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Cluster-wide names carry the namespace, so that two releases can live in one cluster. */ -}}
{{- define "dashboard-refresh.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "dashboard-refresh.name" .) -}}
{{- end -}}

{{- define "dashboard-refresh.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dashboard-refresh.labels" -}}
{{ include "dashboard-refresh.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "dashboard-refresh.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- end -}}
