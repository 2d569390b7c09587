module tools/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.20.2
	github.com/external-secrets/external-secrets v1.3.2
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.4.1
	sigs.k8s.io/kueue v0.17.0
)
