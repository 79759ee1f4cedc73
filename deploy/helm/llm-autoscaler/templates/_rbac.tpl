{{/* The roles that only some installations need, by the value that switches them on. */}}
{{- define "llm-autoscaler.optionalRoles" -}}
drain: [in-service, deletion-cost, instance-deletion-cost]
roleBasedGroups: [targets-role-based-groups]
resourceClaims: [targets-resource-claims]
{{- end }}

{{/* The names of optional roles that are on, without the prefix. */}}
{{- define "llm-autoscaler.optionalRolesOn" -}}
{{- $on := list -}}
{{- range $value, $names := include "llm-autoscaler.optionalRoles" . | fromYaml -}}
{{- if get $.Values.rbac $value -}}{{- $on = concat $on $names -}}{{- end -}}
{{- end -}}
{{- toYaml $on -}}
{{- end }}

{{/*
The roles that are bound here, without the prefix. None of the release's roles is aggregated into
llm-autoscaler-targets, which is for roles of others: an uninstallation deletes roles in any order,
and Kubernetes writes an aggregated role again when one of its parts is deleted before it.
*/}}
{{- define "llm-autoscaler.boundRoles" -}}
{{- $names := concat (list "targets-known") (include "llm-autoscaler.optionalRolesOn" . | fromYamlArray) -}}
{{- if .Values.watchNamespace -}}{{- $names = prepend $names "" -}}{{- end -}}
{{- if .Values.extraTargets -}}{{- $names = append $names "targets-extra" -}}{{- end -}}
{{- toYaml $names -}}
{{- end }}

{{/* A name of config/rbac as it is in this release. */}}
{{- define "llm-autoscaler.renamed" -}}
{{ printf "%s%s" (include "llm-autoscaler.fullname" .root) (trimPrefix "llm-autoscaler" .name) }}
{{- end }}

{{/* True if a value is set, or if it is null and the whole cluster is served. */}}
{{- define "llm-autoscaler.isOn" -}}
{{- if kindIs "invalid" .value -}}{{ not .root.Values.watchNamespace }}{{- else -}}{{ .value }}{{- end -}}
{{- end }}

{{/* An object of config/rbac as it is in this release; nothing if it has none. */}}
{{- define "llm-autoscaler.rbacObject" -}}
{{- $v := .root.Values -}}
{{- $object := .object -}}
{{- $name := $object.metadata.name | trimPrefix "llm-autoscaler" | trimPrefix "-" -}}
{{- $isOfUsers := has $name (list "view" "edit" "caller") -}}
{{- $isWanted := true -}}
{{- if $isOfUsers -}}
{{- $isWanted = eq "true" (include "llm-autoscaler.isOn" (dict "root" .root "value" $v.rbac.userRoles)) -}}
{{- else if eq $name "wake-reviews" -}}
{{- $isWanted = and (ne $v.wake.mode "Disabled") (eq "true" (include "llm-autoscaler.isOn" (dict "root" .root "value" $v.rbac.wakeReviews))) -}}
{{- else if eq $name "leases" -}}
{{- $isWanted = $v.lease.enabled -}}
{{- else if eq $object.kind "ServiceAccount" -}}
{{- $isWanted = false -}}
{{- else if $v.watchNamespace -}}
{{- $isWanted = and (eq $object.kind "ClusterRole") (ne $name "targets") -}}
{{- end -}}
{{- if $isWanted }}
---
{{ include "llm-autoscaler.rbacRewritten" (dict "root" .root "object" $object "name" $name "isOfUsers" $isOfUsers) }}
{{- end }}
{{- end }}

{{- define "llm-autoscaler.rbacRewritten" -}}
{{- $v := .root.Values -}}
{{- $object := .object -}}
{{- $isNarrowed := and $v.watchNamespace (eq $object.kind "ClusterRole") (not .isOfUsers) (ne .name "wake-reviews") -}}
{{- $labels := include "llm-autoscaler.labels" .root | fromYaml -}}
{{- if $isNarrowed -}}
{{- $_ := set $object "kind" "Role" -}}
{{- $_ := set $object.metadata "namespace" $v.watchNamespace -}}
{{- else -}}
{{- $labels = merge $labels (omit (default dict $object.metadata.labels) "llmautoscaler.io/aggregate-to-targets") -}}
{{- end -}}
{{- $_ := set $object.metadata "labels" $labels -}}
{{- $_ := set $object.metadata "name" (include "llm-autoscaler.renamed" (dict "root" .root "name" $object.metadata.name)) -}}
{{- if $object.roleRef -}}
{{- $_ := set $object.roleRef "name" (include "llm-autoscaler.renamed" (dict "root" .root "name" $object.roleRef.name)) -}}
{{- $_ := set $object "subjects" (include "llm-autoscaler.subjects" .root | fromYamlArray) -}}
{{- end -}}
{{- if eq .name "leases" -}}
{{- $_ := set $object.metadata "namespace" .root.Release.Namespace -}}
{{- range $object.rules -}}
{{- if .resourceNames -}}{{- $_ := set . "resourceNames" (include "llm-autoscaler.leaseNames" $.root | fromYamlArray) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $object -}}
{{- end }}

{{/* Each further bucket has a Lease with its number behind the name. */}}
{{- define "llm-autoscaler.leaseNames" -}}
{{- $name := include "llm-autoscaler.leaseName" . -}}
- {{ $name }}
{{- range $bucket := untilStep 1 (int .Values.lease.buckets) 1 }}
- {{ $name }}-{{ $bucket }}
{{- end }}
{{- end }}

{{- define "llm-autoscaler.subjects" -}}
- {kind: ServiceAccount, name: {{ include "llm-autoscaler.serviceAccountName" . }}, namespace: {{ .Release.Namespace }}}
{{- end }}

{{/* Binds a role in a namespace, or in the whole cluster. */}}
{{- define "llm-autoscaler.roleBinding" -}}
{{- $name := printf "llm-autoscaler-%s" .name | trimSuffix "-" }}
{{- $renamed := include "llm-autoscaler.renamed" (dict "root" .root "name" $name) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne .namespace "") }}
metadata:
  name: {{ $renamed }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "llm-autoscaler.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (ne .root.Values.watchNamespace "") }}
  name: {{ $renamed }}
subjects: {{- include "llm-autoscaler.subjects" .root | nindent 0 }}
{{- end }}

{{- define "llm-autoscaler.extraTargets" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (ne .Values.watchNamespace "") }}
metadata:
  name: {{ include "llm-autoscaler.fullname" . }}-targets-extra
  {{- with .Values.watchNamespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "llm-autoscaler.labels" . | nindent 4 }}
rules:
{{- range .Values.extraTargets }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources: [{{ .resource }}/scale]
  verbs: [get, patch]
- apiGroups: [{{ .apiGroup | quote }}]
  resources: [{{ .resource }}]
  verbs: [get]
{{- end }}
{{- end }}
