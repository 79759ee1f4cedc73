{{/* The bytes of a Kubernetes quantity such as 512Mi, 1G or 1000000. */}}
{{- define "llm-autoscaler.bytes" -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- if not (hasKey $units $unit) -}}{{ fail (printf "%q is no number of bytes: use a unit such as Mi or Gi" $text) }}{{- end -}}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) | int64 -}}
{{- end }}

{{/* Fails if values contradict each other. */}}
{{- define "llm-autoscaler.checks" -}}
{{- $v := .Values -}}
{{- if and (not $v.lease.enabled) (gt (int $v.replicas) 1) -}}
{{ fail (printf "replicas: %d copies without lease.enabled would all write; set replicas: 1, or lease.enabled: true" (int $v.replicas)) }}
{{- end -}}
{{- include "llm-autoscaler.checkMemory" . -}}
{{- with $v.podDisruptionBudget -}}
{{- if and .enabled (kindIs "invalid" .minAvailable | not) (kindIs "invalid" .maxUnavailable | not) -}}
{{ fail "podDisruptionBudget: set either minAvailable or maxUnavailable, and the other one to null" }}
{{- end -}}
{{- if and .enabled (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable) -}}
{{ fail "podDisruptionBudget: set minAvailable or maxUnavailable, or enabled: false" }}
{{- end -}}
{{- if and .enabled (regexMatch "^[0-9]+$" (toString .minAvailable)) (ge (int .minAvailable) (int $v.replicas)) -}}
{{ fail (printf "podDisruptionBudget.minAvailable: %v of %v replicas would let no node be drained; lower it" .minAvailable $v.replicas) }}
{{- end -}}
{{- end -}}
{{- if $v.watchNamespace -}}
{{- range $v.rbac.credentialsNamespaces -}}
{{- if ne . $v.watchNamespace -}}
{{ fail (printf "rbac.credentialsNamespaces: with watchNamespace %s nothing is read in %s; remove it" $v.watchNamespace .) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not $v.rbac.create) (or $v.extraTargets $v.rbac.drain $v.rbac.roleBasedGroups $v.rbac.credentialsNamespaces) -}}
{{ fail "rbac.create: without it extraTargets, rbac.drain, rbac.roleBasedGroups and rbac.credentialsNamespaces grant nothing; remove them, or set it" }}
{{- end -}}
{{- if and $v.sourceCredentials (not $v.allowSourceHosts) -}}
{{ fail "sourceCredentials: no host gets credentials unless allowSourceHosts names it; list the hosts of the rules there" }}
{{- end -}}
{{- include "llm-autoscaler.checkExtraArgs" . -}}
{{- end }}

{{- define "llm-autoscaler.checkMemory" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if $limit -}}
{{- $needed := add (mul 2 (include "llm-autoscaler.bytes" .Values.memoryBudget | int64)) 268435456 -}}
{{- if lt (include "llm-autoscaler.bytes" $limit | int64) $needed -}}
{{ fail (printf "resources.limits.memory: %v is too little for memoryBudget %v: the process would be killed under load; set at least twice the budget and 256Mi, here %dMi" $limit .Values.memoryBudget (div (add $needed 1048575) 1048576)) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A flag that is given twice ends the operator at its start. */}}
{{- define "llm-autoscaler.checkExtraArgs" -}}
{{- $set := list -}}
{{- range include "llm-autoscaler.args" . | fromYamlArray -}}
{{- $set = append $set (splitList "=" . | first) -}}
{{- end -}}
{{- range .Values.extraArgs -}}
{{- $flag := splitList "=" . | first -}}
{{- if has $flag $set -}}
{{ fail (printf "extraArgs: %s is set by a value of the chart; use that one" $flag) }}
{{- end -}}
{{- end -}}
{{- end }}
