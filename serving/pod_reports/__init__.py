"""Reports which model pods held GPUs, and when: what GPU time is billed from.

Every interval it asks the Kubernetes API for the model pods of a namespace, and extends the day's
report in the warehouse (`pods/day=<day>/<source>.json`) by compare-and-swap. A pod holds its GPUs
from when it is scheduled onto a node until it ends, pulling images and loading weights included.

It may get and list pods in its namespace, and get nodes, which belong to no namespace:

    Role         apiGroups: [""]  resources: [pods]   verbs: [get, list]
    ClusterRole  apiGroups: [""]  resources: [nodes]  verbs: [get]
"""
