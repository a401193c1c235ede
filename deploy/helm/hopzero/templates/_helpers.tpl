{{- define "hopzero.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "hopzero.selector" -}}
app.kubernetes.io/name: hopzero
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hopzero.labels" -}}
{{ include "hopzero.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "hopzero.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "hopzero.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "hopzero.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* What no schema can say. */ -}}
{{- define "hopzero.check" -}}
{{- if and (eq .Values.mode "serve") (not .Values.cluster.dnsAddresses) -}}
{{- fail "\n\ncluster.dnsAddresses is empty: mode serve needs the addresses that pods have in their resolv.conf, such as --set cluster.dnsAddresses={10.96.0.10}" -}}
{{- end -}}
{{- if and .Values.pin.detachOnExit (not .Values.pin.directory) -}}
{{- fail "\n\npin.detachOnExit: nothing is pinned without pin.directory" -}}
{{- end -}}
{{- if and (eq .Values.mode "accelerate") .Values.podMonitor.enabled -}}
{{- fail "\n\npodMonitor.enabled: accelerate has no page of metrics; ask a node by `hopzero stats`" -}}
{{- end -}}
{{- end -}}

{{- define "hopzero.corefile" -}}
{{- if .Values.serve.corefile -}}
{{ .Values.serve.corefile | trim }}
{{- else -}}
.:53 {
    bind {{ concat .Values.serve.bind .Values.serve.localAddresses | join " " }}
    errors
    health 127.0.0.1:{{ .Values.serve.ports.health }} {
        lameduck 5s
    }
    ready 127.0.0.1:{{ .Values.serve.ports.ready }}
    kubernetes {{ .Values.cluster.domain }} {{ default (list "in-addr.arpa" "ip6.arpa") .Values.cluster.reverseCIDRs | join " " }} {
        pods {{ .Values.serve.pods }}
        fallthrough in-addr.arpa ip6.arpa
        ttl {{ .Values.serve.ttlSeconds }}
    }
    prometheus :{{ .Values.serve.ports.metrics }}
    forward . {{ join " " .Values.serve.upstreams }} {
        max_concurrent 1000
    }
    cache {{ .Values.serve.cacheSeconds }}
    loop
    reload
    loadbalance
}
{{- range $domain, $servers := .Values.serve.stubDomains }}
{{ $domain }}:53 {
    bind {{ concat $.Values.serve.bind $.Values.serve.localAddresses | join " " }}
    errors
    cache {{ $.Values.serve.cacheSeconds }}
    forward . {{ join " " $servers }} {
        max_concurrent 1000
    }
}
{{- end }}
{{- end -}}
{{- end -}}

{{- /* What the daemon watches: as `hopzero rbac` prints it. */ -}}
{{- define "hopzero.watchesImports" -}}
{{- if or .Values.rbac.watchImports (and (eq .Values.mode "serve") (regexMatch "(?m)^\\s*multicluster[ \\t]+[^[:space:]#]" (include "hopzero.corefile" .))) -}}
true
{{- end -}}
{{- end -}}
{{- define "hopzero.watchesPods" -}}
{{- if or .Values.rbac.watchPods (and (eq .Values.mode "serve") (regexMatch "(?m)^\\s*pods\\s+verified\\s*$" (include "hopzero.corefile" .))) -}}
true
{{- end -}}
{{- end -}}
