{{- /* Name of everything in this release. Helm takes dots and a digit at the beginning, a Service takes neither. */ -}}
{{- define "dashboard-refresh.name" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $release -}}
{{- $release = printf "r-%s" $release -}}
{{- end -}}
{{- if contains .Chart.Name $release -}}
{{- $release | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" $release .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Cluster-wide names carry the namespace, so that two releases can live in one cluster. */ -}}
{{- define "dashboard-refresh.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "dashboard-refresh.name" .) -}}
{{- end -}}

{{- /* Name in a watched namespace, which releases of other namespaces may watch too. */ -}}
{{- define "dashboard-refresh.nameIn" -}}
{{- include (ternary "dashboard-refresh.name" "dashboard-refresh.clusterName" (eq .namespace .release.Release.Namespace)) .release -}}
{{- end -}}

{{- define "dashboard-refresh.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "dashboard-refresh.labels" -}}
{{ include "dashboard-refresh.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "dashboard-refresh.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- end -}}

{{- /* Where refreshes are seen, as a JSON list: one nameless place for the whole cluster. */ -}}
{{- define "dashboard-refresh.watched" -}}
{{- if .Values.watch.clusterWide -}}
{{- list "" | toJson -}}
{{- else -}}
{{- .Values.watch.namespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{- /* The variable by which operator and page know where to look. */ -}}
{{- define "dashboard-refresh.watchEnv" -}}
{{- if .Values.watch.clusterWide -}}
- {name: WATCH_CLUSTER_WIDE, value: "true"}
{{- else -}}
- {name: WATCH_NAMESPACES, value: {{ include "dashboard-refresh.watched" . | fromJsonArray | join "," | quote }}}
{{- end -}}
{{- end -}}

{{- /* The page has names and labels of its own, so that no selector of the operator's finds its pods. */ -}}
{{- define "dashboard-refresh.pageName" -}}
{{- printf "%s-page" (include "dashboard-refresh.name" .) -}}
{{- end -}}

{{- define "dashboard-refresh.pageSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-page
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "dashboard-refresh.pageLabels" -}}
{{ include "dashboard-refresh.pageSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- /* Where notifications link to: what the user says, or else the page's address of the run. */ -}}
{{- define "dashboard-refresh.runUrl" -}}
{{- if .Values.links.runUrl -}}
{{- .Values.links.runUrl -}}
{{- else if and .Values.page.enabled .Values.page.url -}}
{{- printf "%s/refreshes/{namespace}/{name}/runs/{run}" (trimSuffix "/" .Values.page.url) -}}
{{- end -}}
{{- end -}}
