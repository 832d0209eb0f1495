{{- define "parlor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "parlor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "parlor.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "parlor.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "parlor.selector" -}}
app.kubernetes.io/name: {{ include "parlor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "parlor.labels" -}}
{{ include "parlor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "parlor.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "parlor.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Who has a secret: what the operator made, else the chart's own. */}}
{{- define "parlor.credentialsSecret" -}}
{{- default (include "parlor.fullname" .) .Values.credentials.existingSecret -}}
{{- end -}}
{{- define "parlor.webhookSecret" -}}
{{- default (include "parlor.fullname" .) .Values.webhookSecret.existingSecret -}}
{{- end -}}
{{- define "parlor.databaseSecret" -}}
{{- default (include "parlor.fullname" .) .Values.database.existingSecret -}}
{{- end -}}
{{- define "parlor.redisSecret" -}}
{{- default (include "parlor.fullname" .) .Values.redis.existingSecret -}}
{{- end -}}

{{- define "parlor.hasDatabase" -}}
{{- if or .Values.database.url .Values.database.existingSecret }}yes{{ end -}}
{{- end -}}
{{- define "parlor.hasRedis" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret }}yes{{ end -}}
{{- end -}}
{{- define "parlor.hasWebhookSecret" -}}
{{- if or .Values.webhookSecret.value .Values.webhookSecret.existingSecret }}yes{{ end -}}
{{- end -}}

{{/* What cannot work is refused here, with what to do. */}}
{{- define "parlor.check" -}}
{{- if not (or .Values.credentials.content .Values.credentials.existingSecret) -}}
{{- fail "credentials: give credentials.existingSecret, or credentials.content; parlor key create --credentials FILE makes the file" -}}
{{- end -}}
{{- if and .Values.credentials.content .Values.credentials.existingSecret -}}
{{- fail "credentials: content and existingSecret are both given: leave one of them away" -}}
{{- end -}}
{{- if and .Values.database.url .Values.database.existingSecret -}}
{{- fail "database: url and existingSecret are both given: leave one of them away" -}}
{{- end -}}
{{- if and .Values.redis.url .Values.redis.existingSecret -}}
{{- fail "redis: url and existingSecret are both given: leave one of them away" -}}
{{- end -}}
{{- if and .Values.webhookSecret.value .Values.webhookSecret.existingSecret -}}
{{- fail "webhookSecret: value and existingSecret are both given: leave one of them away" -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (not (and (include "parlor.hasDatabase" .) (include "parlor.hasRedis" .))) -}}
{{- fail "replicaCount: more than one node needs database and redis" -}}
{{- end -}}
{{- if and (include "parlor.hasRedis" .) (not (include "parlor.hasDatabase" .)) -}}
{{- fail "redis: nodes that share a Redis share a database: give database" -}}
{{- end -}}
{{- if and (hasKey .Values.settings "review-webhook") (not (include "parlor.hasWebhookSecret" .)) -}}
{{- fail "webhookSecret: settings.review-webhook needs it, the same for all nodes" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host: is missing" -}}
{{- end -}}
{{- end -}}
