"""Stand-ins for the Pulumi providers of AWS, EKS and Kubernetes, before an account in moto.

The engine is the real one. What a stand-in does not do as the provider that it stands in for:

aws: `provider.py` and one class for each resource type in `kinds/`, which says which properties
need a new resource, and which inputs moto has no place for. Inputs are not validated beyond what
moto refuses; inputs are compared with inputs, so AWS's defaults are no drift; an attribute that
neither the program set nor a kind reads back does not exist.

eks: `eks_component.py` declares what pulumi-eks declares for the arguments that this project uses
and refuses any other argument.

kubernetes: `kubernetes_provider.py` keeps objects in memory: no schema, no defaults, no
controllers, no await. The real provider and a real API server are in tests/cluster.
"""
