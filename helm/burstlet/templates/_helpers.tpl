{{/* Labels of every object; the part is "admission", "controller" or "scheduler". */}}
{{- define "burstlet.labels" -}}
app.kubernetes.io/name: burstlet
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .part }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels that a part's pods are selected by; they never change over upgrades. */}}
{{- define "burstlet.selector" -}}
app.kubernetes.io/name: burstlet
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "burstlet.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "burstlet.schedulerImage" -}}
{{ .Values.scheduler.image.repository }}:{{ .Values.scheduler.image.tag | default (regexFind "^v[0-9]+\\.[0-9]+\\.[0-9]+" .Capabilities.KubeVersion.Version) }}
{{- end }}

{{/* Name of the Secret with a part's certificate. */}}
{{- define "burstlet.tlsSecret" -}}
{{- if and (eq .part "kubelet") .root.Values.tls.secrets.kubelet -}}
{{ .root.Values.tls.secrets.kubelet }}
{{- else if eq .root.Values.tls.mode "secret" -}}
{{ required (printf "tls.secrets.%s is required where tls.mode is secret" .part) (index .root.Values.tls.secrets .part) }}
{{- else -}}
burstlet-{{ .part }}-tls
{{- end -}}
{{- end }}

{{/* What every container of ours may not do. */}}
{{- define "burstlet.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}

{{- define "burstlet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Replicas of a part on different nodes, never on virtual ones: a virtual node needs burstlet to live. */}}
{{- define "burstlet.spread" -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: type, operator: NotIn, values: [virtual-kubelet]}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "burstlet.selector" . | nindent 12 }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}
