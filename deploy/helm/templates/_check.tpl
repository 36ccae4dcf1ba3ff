{{- /* Rejects values that match the schema and are still invalid. */ -}}
{{- define "dashboard-refresh.check" -}}
{{- if and .Values.watch.clusterWide .Values.watch.namespaces -}}
{{- fail "watch.namespaces and watch.clusterWide exclude each other: an operator watches every namespace, or those listed" -}}
{{- end -}}
{{- if and .Values.watch.namespaces (not (has .Release.Namespace .Values.watch.namespaces)) -}}
{{- range $name := list "main" "phase2" -}}
{{- if (index $.Values.refreshes $name).enabled -}}
{{- fail (printf "refreshes.%s is created in the release's namespace, which is not watched: add %s to watch.namespaces" $name $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $seconds := 0 -}}
{{- range $unit, $length := dict "h" 3600 "m" 60 "s" 1 -}}
{{- $seconds = add $seconds (mul $length (regexFind (printf "[0-9]+%s" $unit) $.Values.watch.resync | trimSuffix $unit | default "0" | atoi)) -}}
{{- end -}}
{{- if or (lt (int $seconds) 1) (gt (int $seconds) 604800) -}}
{{- fail (printf "watch.resync is %s: write a duration like 90s, 5m or 1h30m, between 1s and 168h" .Values.watch.resync) -}}
{{- end -}}
{{- if and .Values.page.enabled .Values.page.warehouse.secretName (eq .Values.page.warehouse.secretName .Values.warehouse.secretName) -}}
{{- fail "page.warehouse.secretName is the Secret of runs, whose role can write: create a read-only role, with its own Secret" -}}
{{- end -}}
{{- if and (.Values.admissionPolicy).enabled (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "admissionPolicy.enabled needs Kubernetes 1.30, and this cluster has %s: set it to false" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if contains "{" (regexReplaceAll "\\{(namespace|name|run)\\}" .Values.links.runUrl "") -}}
{{- fail "links.runUrl: unknown placeholder; only {namespace}, {name} and {run} are replaced" -}}
{{- end -}}
{{- end -}}
