{{/* The name of objects that have no namespace: a second Ark in another one must not take the first one's rights. */}}
{{- define "ark.clusterName" -}}
{{- if eq .Release.Namespace "heptio-ark" -}} ark {{- else -}} ark-{{ .Release.Namespace }} {{- end -}}
{{- end -}}

{{/* The variable that names the file with credentials; empty where each key of the Secret is a variable itself. */}}
{{- define "ark.credentialsVariable" -}}
{{- if eq .Values.location.provider "gcp" -}} GOOGLE_APPLICATION_CREDENTIALS
{{- else if ne .Values.location.provider "azure" -}} AWS_SHARED_CREDENTIALS_FILE
{{- end -}}
{{- end -}}
