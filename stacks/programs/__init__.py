"""The two programs: they compose components and decide nothing else."""
