{{/*
The generated CA and certificates, as a dict of Secret name to data. They are made once: what the cluster holds is kept,
so that an upgrade changes no certificate.
*/}}
{{- define "burstlet.generated" -}}
{{- if not (hasKey . "burstletGenerated") }}
{{- $names := dict "burstlet-admission-tls" (printf "burstlet-admission.%s.svc" .Release.Namespace) "burstlet-kubelet-tls" "burstlet-kubelet" }}
{{- if eq .Values.scheduler.mode "dedicated" }}
{{- $_ := set $names "burstlet-scheduler-tls" "burstlet-scheduler" }}
{{- end }}
{{- $made := dict }}
{{- $isKept := true }}
{{- range $secret, $_ := $names }}
{{- $stands := lookup "v1" "Secret" $.Release.Namespace $secret }}
{{- if $stands }}
{{- $_ := set $made $secret $stands.data }}
{{- else }}
{{- $isKept = false }}
{{- end }}
{{- end }}
{{- if not $isKept }}
{{- $days := int .Values.tls.days }}
{{- $ca := genCA "burstlet" $days }}
{{- range $secret, $name := $names }}
{{- $certificate := genSignedCert $name nil (list $name) $days $ca }}
{{- $_ := set $made $secret (dict "ca.crt" (b64enc $ca.Cert) "tls.crt" (b64enc $certificate.Cert) "tls.key" (b64enc $certificate.Key)) }}
{{- end }}
{{- end }}
{{- $_ := set . "burstletGenerated" $made }}
{{- end }}
{{- end }}

{{/* The CA that the API server verifies the webhook by, in base64. */}}
{{- define "burstlet.caBundle" -}}
{{- if eq .Values.tls.mode "secret" -}}
{{ required "tls.caBundle is required where tls.mode is secret: the PEM of the CA of admission's certificate" .Values.tls.caBundle | b64enc }}
{{- else -}}
{{- include "burstlet.generated" . -}}
{{ index .burstletGenerated "burstlet-admission-tls" "ca.crt" }}
{{- end -}}
{{- end }}
