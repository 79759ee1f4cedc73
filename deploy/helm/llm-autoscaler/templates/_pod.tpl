{{- define "llm-autoscaler.container" -}}
{{- $v := .Values -}}
image: {{ include "llm-autoscaler.image" . | quote }}
imagePullPolicy: {{ $v.image.pullPolicy }}
args:
{{ include "llm-autoscaler.args" . }}
{{- with $v.extraArgs }}
{{ toYaml . }}
{{- end }}
env:
# The name of this copy, and the namespace of the Leases.
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: RUST_LOG, value: {{ $v.log.level | quote }}}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
ports:
- {name: http, containerPort: {{ $v.ports.http }}}
{{- if ne $v.wake.mode "Disabled" }}
- {name: wake, containerPort: {{ $v.ports.wake }}}
{{- end }}
{{- if $v.metricsApi.enabled }}
- {name: metrics-api, containerPort: {{ $v.ports.metricsApi }}}
{{- end }}
{{- if ne $v.externalScaler.mode "Disabled" }}
- {name: ext-scaler, containerPort: {{ $v.ports.externalScaler }}}
{{- end }}
livenessProbe:
  httpGet: {path: /livez, port: http}
readinessProbe:
  httpGet: {path: /readyz, port: http}
resources: {{- toYaml $v.resources | nindent 2 }}
securityContext: {{- toYaml $v.securityContext | nindent 2 }}
{{- if or (eq $v.wake.mode "TLS") (eq $v.externalScaler.mode "TLS") $v.sourceCredentials $v.extraVolumeMounts }}
volumeMounts:
{{- if $v.sourceCredentials }}
- {name: source-credentials, mountPath: /etc/llm-autoscaler/source-credentials, readOnly: true}
{{- end }}
{{- if eq $v.externalScaler.mode "TLS" }}
- {name: external-scaler-tls, mountPath: /etc/llm-autoscaler/external-scaler-tls, readOnly: true}
{{- end }}
{{- if eq $v.wake.mode "TLS" }}
- {name: wake-tls, mountPath: /etc/llm-autoscaler/wake-tls, readOnly: true}
{{- end }}
{{- with $v.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "llm-autoscaler.volumes" -}}
{{- if or (eq .Values.wake.mode "TLS") (eq .Values.externalScaler.mode "TLS") .Values.sourceCredentials .Values.extraVolumes -}}
volumes:
{{- if .Values.sourceCredentials }}
- name: source-credentials
  configMap: {name: {{ include "llm-autoscaler.fullname" . }}-source-credentials}
{{- end }}
{{- if eq .Values.externalScaler.mode "TLS" }}
- name: external-scaler-tls
  secret: {secretName: {{ .Values.externalScaler.secretName }}, optional: true}
{{- end }}
{{- if eq .Values.wake.mode "TLS" }}
- name: wake-tls
  secret: {secretName: {{ .Values.wake.secretName }}, optional: true}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where pods run, and where their image is from. */}}
{{- define "llm-autoscaler.scheduling" -}}
{{- range $field := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" "priorityClassName" -}}
{{- with get $.Values $field }}
{{ dict $field . | toYaml }}
{{- end }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "llm-autoscaler.selector" $ | fromYaml)) }}
{{- range . }}
{{ list (merge (deepCopy .) $selector) | toYaml }}
{{- end }}
{{- end }}
{{- end }}
