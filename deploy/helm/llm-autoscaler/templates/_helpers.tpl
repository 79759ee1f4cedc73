{{- define "llm-autoscaler.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "llm-autoscaler.selector" -}}
app.kubernetes.io/name: llm-autoscaler
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "llm-autoscaler.labels" -}}
{{ include "llm-autoscaler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "llm-autoscaler.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "llm-autoscaler.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ required "serviceAccount.name: without serviceAccount.create it has to name an account that exists" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "llm-autoscaler.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "llm-autoscaler.leaseName" -}}
{{ default (include "llm-autoscaler.fullname" .) .Values.lease.name }}
{{- end }}

{{/* The container's arguments, as a YAML list. */}}
{{- define "llm-autoscaler.args" -}}
{{- $v := .Values -}}
- run
- --log-format={{ $v.log.format }}
- --health-address=[::]:{{ $v.ports.http }}
{{- with $v.watchNamespace }}
- --namespace={{ . }}
{{- end }}
- --leader-elect={{ $v.lease.enabled }}
{{- if $v.lease.enabled }}
- --lease-name={{ include "llm-autoscaler.leaseName" . }}
- --lease-duration-seconds={{ int $v.lease.durationSeconds }}
- --buckets={{ int $v.lease.buckets }}
{{- end }}
- --sync-period-seconds={{ int $v.syncPeriodSeconds }}
- --profile={{ $v.profile }}
- --autoscalers-per-namespace={{ int64 $v.autoscalersPerNamespace }}
- --memory-budget={{ $v.memoryBudget }}
{{- with $v.allowSourceHosts }}
- --allow-source-hosts={{ join "," . }}
{{- end }}
{{- if $v.sourceCredentials }}
- --source-credentials-file=/etc/llm-autoscaler/source-credentials/credentials.yaml
{{- end }}
{{- with $v.monitoringNamespaces }}
- --monitoring-namespaces={{ join "," . }}
{{- end }}
{{- with $v.gpuResources }}
- --gpu-resources={{ join "," . }}
{{- end }}
{{- if $v.allowLoopback }}
- --allow-loopback
{{- end }}
{{- if $v.autoscalerMetrics }}
- --autoscaler-metrics
{{- end }}
{{- with $v.otlpEndpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- if $v.metricsApi.enabled }}
- --metrics-api
- --metrics-api-address=[::]:{{ $v.ports.metricsApi }}
- --metrics-api-service={{ include "llm-autoscaler.metricsApiName" . }}
- --metrics-api-secret={{ include "llm-autoscaler.metricsApiName" . }}
{{- end }}
{{- if ne $v.externalScaler.mode "Disabled" }}
- --external-scaler-address=[::]:{{ $v.ports.externalScaler }}
{{- end }}
{{- if eq $v.externalScaler.mode "TLS" }}
- --external-scaler-tls-cert-file=/etc/llm-autoscaler/external-scaler-tls/tls.crt
- --external-scaler-tls-key-file=/etc/llm-autoscaler/external-scaler-tls/tls.key
{{- if $v.externalScaler.verifyClients }}
- --external-scaler-client-ca-file=/etc/llm-autoscaler/external-scaler-tls/ca.crt
{{- end }}
{{- else if eq $v.externalScaler.mode "PlainHTTP" }}
- --external-scaler-plain-http
{{- end }}
{{- if ne $v.wake.mode "Disabled" }}
- --wake-address=[::]:{{ $v.ports.wake }}
- --wake-audience={{ $v.wake.audience }}
{{- end }}
{{- if eq $v.wake.mode "TLS" }}
- --wake-tls-cert-file=/etc/llm-autoscaler/wake-tls/tls.crt
- --wake-tls-key-file=/etc/llm-autoscaler/wake-tls/tls.key
{{- else if eq $v.wake.mode "PlainHTTP" }}
- --wake-plain-http
{{- end }}
{{- end }}

{{/* The Service and the Secret of the metrics APIs. */}}
{{- define "llm-autoscaler.metricsApiName" -}}
{{ include "llm-autoscaler.fullname" . }}-metrics-api
{{- end }}

{{/* The APIServices that the release has, as a YAML list of versions and groups. */}}
{{- define "llm-autoscaler.metricsApis" -}}
{{- if .Values.metricsApi.custom }}
- {version: v1beta1, group: custom.metrics.k8s.io, priority: 100}
- {version: v1beta2, group: custom.metrics.k8s.io, priority: 200}
{{- end }}
{{- if .Values.metricsApi.external }}
- {version: v1beta1, group: external.metrics.k8s.io, priority: 100}
{{- end }}
{{- end }}
