{{/* The extender, as a KubeSchedulerConfiguration names it. */}}
{{- define "burstlet.extenders" -}}
extenders:
- urlPrefix: https://burstlet-admission.{{ .Release.Namespace }}.svc:8444
  filterVerb: filter
  prioritizeVerb: prioritize
  preemptVerb: preempt
  bindVerb: bind
  weight: 1
  enableHTTPS: true
  tlsConfig: {caFile: /etc/burstlet/tls/ca.crt, certFile: /etc/burstlet/tls/tls.crt, keyFile: /etc/burstlet/tls/tls.key}
  httpTimeout: 500ms
  # Only names travel.
  nodeCacheCapable: true
  # A bind that an ignorable extender refuses is bound by kube-scheduler itself.
  ignorable: false
{{- end }}

{{- define "burstlet.schedulerConfiguration" -}}
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: true, resourceNamespace: {{ .Release.Namespace }}, resourceName: burstlet-scheduler}
profiles:
# All nodes, for sampling would hide the few virtual ones.
- {schedulerName: {{ .Values.scheduler.name }}, percentageOfNodesToScore: 100}
{{ include "burstlet.extenders" . }}
{{- end }}
