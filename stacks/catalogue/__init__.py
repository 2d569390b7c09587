"""What AWS and models are, as data: instance types, regions, weights, prices."""
