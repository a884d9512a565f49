{{- define "cas.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{- define "cas.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "cas.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "cas.name" .) | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "cas.selector" -}}
app.kubernetes.io/name: {{ include "cas.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cas.labels" -}}
{{ include "cas.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cas.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cas.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "cas.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "cas.secret" -}}
{{- .Values.secrets.existingSecret | default (include "cas.fullname" .) -}}
{{- end }}

{{- define "cas.hasNatsFiles" -}}
{{- if and .Values.cas.nats.enabled .Values.cas.nats.filesSecret }}yes{{ end -}}
{{- end }}

{{/* Environment of every process. Give a dict of root, and whether it publishes. */}}
{{- define "cas.env" -}}
{{- $root := .root -}}
{{- with $root.Values -}}
- {name: CAS_DATA_DIR, value: /var/lib/artifact-cas}
- {name: TMPDIR, value: /tmp}
- {name: CAS_HOST, value: 0.0.0.0}
- {name: CAS_PORT, value: "8000"}
- {name: CAS_BEHIND_PROXY, value: {{ or .ingress.enabled .cas.behindProxy | quote }}}
- {name: CAS_WEB_WORKERS, value: {{ .web.processes | quote }}}
- {name: CAS_WEB_THREADS, value: {{ .web.threads | quote }}}
- {name: CAS_MAX_TRANSFERS, value: {{ .web.maxTransfers | quote }}}
- {name: CAS_DRAIN_SECONDS, value: {{ .web.drainSeconds | quote }}}
- {name: CAS_GRACE_SECONDS, value: {{ .web.graceSeconds | quote }}}
- name: CAS_ALLOWED_HOSTS
  value: {{ join "," (concat (ternary (list .ingress.host) (list) .ingress.enabled) .cas.allowedHosts (list (include "cas.fullname" $root) (printf "%s.%s.svc" (include "cas.fullname" $root) $root.Release.Namespace))) | quote }}
{{- if .ingress.enabled }}
- {name: CAS_CSRF_TRUSTED_ORIGINS, value: {{ printf "https://%s" .ingress.host | quote }}}
{{- end }}
- {name: CAS_TOKEN_KEYS, value: /etc/artifact-cas/token-keys}
{{- with .cas.tokenKeys.issuer }}
- {name: CAS_TOKEN_ISSUER, value: {{ . | quote }}}
{{- end }}
{{- if and $.isSigning .cas.checkpointKey.existingSecret }}
- {name: CAS_CHECKPOINT_KEY, value: /etc/artifact-cas/checkpoint/{{ .cas.checkpointKey.existingSecretKey }}}
{{- with .cas.checkpointKey.earlierPublicKeys }}
- {name: CAS_CHECKPOINT_PUBLIC_KEYS, value: "/etc/artifact-cas/checkpoint/{{ join ",/etc/artifact-cas/checkpoint/" . }}"}
{{- end }}
{{- end }}
{{- if .cas.nats.enabled }}
{{- if .cas.nats.existingSecret }}
- name: NATS_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .cas.nats.existingSecret }}, key: {{ .cas.nats.existingSecretKey }}}}
{{- else if .cas.nats.token }}
- name: NATS_TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "cas.fullname" $root }}-nats, key: token, optional: true}}
{{- end }}
- {name: NATS_URL, value: {{ .cas.nats.url | default (printf "nats://%s:%v" .cas.nats.host .cas.nats.port) | quote }}}
{{- if .cas.nats.filesSecret }}
{{- range $kind, $file := .cas.nats.files }}
- {name: NATS_{{ upper $kind }}, value: /etc/artifact-cas/nats/{{ $file }}}
{{- end }}
{{- end }}
{{- end }}
{{- range $variable := list "CAS_SECRET_KEY" "DATABASE_URL" "CELERY_BROKER_URL" }}
- name: {{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ include "cas.secret" $root }}, key: {{ $variable }}}}
{{- end }}
- name: CAS_CREDENTIAL_KEYS
  valueFrom: {secretKeyRef: {name: {{ include "cas.secret" $root }}, key: CAS_CREDENTIAL_KEYS, optional: true}}
{{- with $.metricsPort }}
- {name: CAS_METRICS_PORT, value: {{ . | quote }}}
{{- end }}
{{- range $name, $value := .cas.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* A container of the image. Give a dict of root, name, args, resources, and isSigning. */}}
{{- define "cas.container" -}}
name: {{ .name }}
image: {{ include "cas.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- toYaml .root.Values.securityContext | nindent 2 }}
env: {{- include "cas.env" . | nindent 2 }}
{{- with .root.Values.cas.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml .resources | nindent 2 }}
volumeMounts:
  - {name: data, mountPath: /var/lib/artifact-cas}
  - {name: tmp, mountPath: /tmp}
  - {name: token-keys, mountPath: /etc/artifact-cas/token-keys, readOnly: true}
  {{- if and .isSigning .root.Values.cas.checkpointKey.existingSecret }}
  - {name: checkpoint, mountPath: /etc/artifact-cas/checkpoint, readOnly: true}
  {{- end }}
  {{- if include "cas.hasNatsFiles" .root }}
  - {name: nats, mountPath: /etc/artifact-cas/nats, readOnly: true}
  {{- end }}
  {{- if and .hasArtifacts .root.Values.artifacts.enabled }}
  - {name: artifacts, mountPath: {{ .root.Values.artifacts.mountPath }}}
  {{- end }}
{{- end }}

{{/* What pods have around their containers. Give a dict of root, values, and what cas.container needs. */}}
{{- define "cas.pod" -}}
{{- $root := .root -}}
serviceAccountName: {{ include "cas.serviceAccount" $root }}
automountServiceAccountToken: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- if .isWaiting }}
initContainers:
  # A new version's pods begin when its migrations are done; those of the old one go on meanwhile.
  - command: [sh, -c, "until python manage.py migrate --check >/dev/null; do sleep 2; done"]
    {{- include "cas.container" (merge (dict "name" "wait-for-migrations" "resources" $root.Values.migrations.resources) .) | nindent 4 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  {{- if not .isPersistent }}
  - {name: data, emptyDir: {sizeLimit: {{ $root.Values.tmp.dataSizeLimit }}}}
  {{- end }}
  - {name: tmp, emptyDir: {sizeLimit: {{ $root.Values.tmp.sizeLimit }}}}
  - name: token-keys
    projected:
      # Optional, for else the folder would keep a key that was taken out of its secret.
      sources:
        {{- range $root.Values.cas.tokenKeys.existingSecrets }}
        - secret:
            name: {{ .name }}
            optional: true
            items:
              {{- range .keys }}
              - {key: {{ . }}, path: {{ . }}}
              {{- end }}
        {{- end }}
        {{- range $root.Values.cas.tokenKeys.existingConfigMaps }}
        - configMap:
            name: {{ .name }}
            optional: true
            items:
              {{- range .keys }}
              - {key: {{ . }}, path: {{ . }}}
              {{- end }}
        {{- end }}
        {{- if $root.Values.cas.tokenKeys.inline }}
        - configMap: {name: {{ include "cas.fullname" $root }}-token-keys, optional: true}
        {{- end }}
  {{- if and .isSigning $root.Values.cas.checkpointKey.existingSecret }}
  - name: checkpoint
    secret: {secretName: {{ $root.Values.cas.checkpointKey.existingSecret }}, defaultMode: 0440}
  {{- end }}
  {{- if include "cas.hasNatsFiles" $root }}
  - name: nats
    secret: {secretName: {{ $root.Values.cas.nats.filesSecret }}, defaultMode: 0440}
  {{- end }}
  {{- if and .hasArtifacts $root.Values.artifacts.enabled }}
  - name: artifacts
    persistentVolumeClaim: {claimName: {{ $root.Values.artifacts.existingClaim | default (printf "%s-artifacts" (include "cas.fullname" $root)) }}}
  {{- end }}
{{- end }}

{{/* A disk for each pod of a StatefulSet, its CAS_DATA_DIR. Give a dict of root and persistence. */}}
{{- define "cas.dataClaim" -}}
volumeClaimTemplates:
  - metadata:
      name: data
      labels: {{- include "cas.selector" .root | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ .persistence.size }}}}
{{- end }}
